import numpy as np
import pytest

from models.errors import InputError
from models.params import PlaceParams
from models.passes import PassContext
from models.pictures import Picture
from models.place import Box, place, product_box


def block(height: int, width: int, *, top: int, left: int, tall: int, wide: int,
          colour: tuple[int, int, int] = (200, 40, 90), hidden: tuple[int, int, int] = (0, 0, 0)) -> Picture:
    """A hard-edged rectangle on a transparent picture whose hidden colour is `hidden`."""
    picture = np.zeros((height, width, 4), dtype=np.uint8)
    picture[:, :, :3] = hidden
    picture[top:top + tall, left:left + wide] = (*colour, 255)
    return picture


def placed(product: Picture, width: int, height: int, *, padding: float = 0.1, centre: bool = False) -> Picture:
    params = PlaceParams(width=width, height=height, object_padding=padding, force_center=centre)
    return place(params, PassContext(), product=product)


def close(box: Box, *edges: float) -> bool:
    """Within one canvas pixel: an edge between pixels belongs to either."""
    return bool(np.allclose(tuple(box), edges, atol=1.0))


@pytest.mark.parametrize(("width", "height"), [(64, 64), (160, 96), (33, 71), (512, 32), (32, 512)])
def test_the_canvas_is_exactly_as_asked(width: int, height: int) -> None:
    result = placed(block(90, 120, top=20, left=30, tall=40, wide=50), width, height)
    assert result.shape == (height, width, 4)
    assert result.dtype == np.uint8


@pytest.mark.parametrize("padding", [0.0, 0.1, 0.5, 1.0])
def test_the_padding_is_a_share_of_the_objects_width_on_every_side(padding: float) -> None:
    wide = block(300, 300, top=100, left=50, tall=50, wide=200)
    flat = product_box(placed(wide, 240, 200, padding=padding, centre=True))
    assert flat.left / flat.width == pytest.approx(padding, abs=0.02)
    assert (240 - flat.right) / flat.width == pytest.approx(padding, abs=0.02)

    high = block(300, 300, top=50, left=100, tall=200, wide=50)
    upright = product_box(placed(high, 240, 200, padding=padding, centre=True))
    assert upright.top / upright.width == pytest.approx(padding, abs=0.04)
    assert (200 - upright.bottom) / upright.width == pytest.approx(padding, abs=0.04)


def test_the_padded_box_touches_the_canvas_on_the_tighter_side() -> None:
    result = product_box(placed(block(100, 100, top=30, left=20, tall=30, wide=60), 144, 96, padding=0.1, centre=True))
    assert close(result, 12, 18, 132, 78)  # 144 = 1.2 x 120, so 60 x 30 doubles


def test_forced_to_the_centre_it_is_in_the_centre() -> None:
    box = product_box(placed(block(200, 200, top=5, left=140, tall=40, wide=40), 200, 100, centre=True))
    assert (box.left + box.right) / 2 == pytest.approx(100, abs=1)
    assert (box.top + box.bottom) / 2 == pytest.approx(50, abs=1)


def test_not_forced_it_keeps_its_relative_place_in_the_photo() -> None:
    low_left = block(200, 200, top=120, left=50, tall=20, wide=10)  # centre at 27.5 %, 65 %
    box = product_box(placed(low_left, 200, 64, padding=0.5))
    assert (box.left + box.right) / 2 == pytest.approx(0.275 * 200, abs=1)


def test_the_place_is_given_up_where_the_padding_would_leave_the_canvas() -> None:
    corner = block(100, 100, top=78, left=88, tall=20, wide=10)
    box = product_box(placed(corner, 200, 60, padding=0.5))
    assert box.right + 0.5 * box.width == pytest.approx(200, abs=1.5)
    assert box.bottom + 0.5 * box.width == pytest.approx(60, abs=1.5)


@pytest.mark.parametrize(("width", "height"), [(64, 64), (40, 300), (700, 300)])
def test_its_shape_is_kept_whatever_the_canvas(width: int, height: int) -> None:
    box = product_box(placed(block(120, 120, top=30, left=20, tall=40, wide=60), width, height))
    assert box.width / box.height == pytest.approx(1.5, rel=0.06)


@pytest.mark.parametrize("side", [48, 120, 460], ids=["smaller", "same", "larger"])
def test_its_opaque_inside_keeps_its_colour_exactly_and_stays_opaque(side: int) -> None:
    result = placed(block(100, 100, top=25, left=20, tall=50, wide=60), side, side)
    box = product_box(result)
    margin = 2 + round(box.width / 60)
    inside = result[int(box.top) + margin:int(box.bottom) - margin, int(box.left) + margin:int(box.right) - margin]
    assert inside.size
    assert np.all(inside == (200, 40, 90, 255))


@pytest.mark.parametrize("side", [37, 100, 333], ids=["smaller", "same", "larger"])
def test_the_colour_hidden_under_alpha_0_never_shows(side: int) -> None:
    shape = {"top": 20, "left": 25, "tall": 44, "wide": 37}
    black = placed(block(100, 100, **shape), side, side)
    green = placed(block(100, 100, **shape, hidden=(0, 255, 0)), side, side)
    assert np.array_equal(black, green)
    visible = black[black[:, :, 3] > 0][:, :3].astype(int)
    assert np.abs(visible - (200, 40, 90)).max() <= 1, "the fringe has the product's own colour"
    assert not black[black[:, :, 3] == 0].any()


def test_enlarging_a_hard_edge_leaves_no_ghost_outside_and_no_hole_inside() -> None:
    alpha = placed(block(60, 60, top=20, left=20, tall=20, wide=20), 480, 480)[:, :, 3]
    row = alpha[240].astype(int)
    first, last = np.flatnonzero(row > 127)[[0, -1]]
    assert np.all(np.diff(row[:240]) >= 0), "alpha only rises towards the product"
    assert row[:first - 20].max() == 0
    assert row[first + 20:last - 20].min() == 255


def test_a_faint_rim_beside_a_solid_edge_keeps_the_products_colour_when_enlarged() -> None:
    """There the sharp kernel's negative lobe outweighs the rim's own alpha, and dividing by it would give black."""
    product = block(60, 60, top=20, left=20, tall=20, wide=20)
    product[18:42, 18:42, :3] = (200, 40, 90)
    product[20:40, 40:42, 3] = 14
    result = placed(product, 480, 480, padding=0.2)
    rim = result[(result[:, :, 3] > 0) & (result[:, :, 3] < 20)]
    assert len(rim) > 1000
    assert np.abs(rim[:, :3].astype(int) - (200, 40, 90)).max() <= 2


def test_nothing_moves_when_nothing_needs_to() -> None:
    """A product that already fits its canvas comes through unresampled, byte for byte."""
    product = block(80, 120, top=20, left=10, tall=40, wide=100)
    product[20:60, 10:110, 0] = np.arange(100) * 2
    assert np.array_equal(placed(product, 120, 80, padding=0.1), product)


def test_fine_print_is_averaged_and_not_skipped_when_it_shrinks() -> None:
    stripes = block(400, 400, top=40, left=40, tall=320, wide=320, colour=(255, 255, 255))
    stripes[:, 40:360:2, :3] = 0
    inside = placed(stripes, 60, 60)[15:45, 15:45, :3]
    assert np.abs(inside.astype(int) - 127).max() < 12


def test_a_speck_or_a_faint_haze_does_not_move_the_box() -> None:
    clean = block(100, 100, top=30, left=30, tall=40, wide=40)
    dusty = clean.copy()
    dusty[2:4, 2:4] = 255
    dusty[:, 95:, 3] = 100
    assert product_box(dusty) == product_box(clean) == Box(30, 30, 70, 70)


def test_a_soft_edge_stays_soft_and_of_its_own_colour() -> None:
    soft = block(100, 100, top=0, left=0, tall=100, wide=100, colour=(10, 120, 240))
    rows, columns = np.mgrid[0:100, 0:100]
    soft[:, :, 3] = np.clip((35 - np.hypot(rows - 50, columns - 50)) * 40 + 128, 0, 255)
    result = placed(soft, 256, 256)
    fringe = result[(result[:, :, 3] > 10) & (result[:, :, 3] < 245)]
    assert len(fringe) > 500
    assert np.abs(fringe[:, :3].astype(int) - (10, 120, 240)).max() <= 1


@pytest.mark.parametrize("alpha", [0, 100])
def test_an_empty_product_is_refused_with_a_remedy(alpha: int) -> None:
    empty = np.full((40, 50, 4), alpha, dtype=np.uint8)
    with pytest.raises(InputError, match="nothing opaque") as caught:
        placed(empty, 64, 64)
    assert caught.value.field == "image"
    assert "50 x 40" in str(caught.value.value)
