from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from models.fidelity import Measure, measures, outline
from models.gain import to_encoded, to_linear, within_headroom
from models.pictures import Floats, Picture, alpha_of, over, rgb_of

Backdrop = Callable[[Picture], Picture]

EXAMPLES = Path(__file__).parents[2] / "examples"
OPAQUE = ["bottle", "mug", "shoe-box", "sneaker", "watch"]
HEIGHT, WIDTH = 480, 640
LABEL = (220, 150, 420, 330)  # left, top, right, bottom
WORDS = ("OAT & RYE", "granola", "with honey", "500 g net")


def carton(words: tuple[str, ...] = WORDS, body: tuple[int, int, int] = (170, 80, 40), soft: float = 1.2) -> Picture:
    """A rounded box with a printed label, 280 x 360 px, softly edged."""
    drawn = Image.new("RGB", (WIDTH, HEIGHT), body)
    pen = ImageDraw.Draw(drawn)
    pen.rectangle(LABEL, fill=(190, 190, 180))
    for line, written in enumerate(words):
        pen.text((LABEL[0] + 12, LABEL[1] + 10 + 42 * line), written, fill=(40, 40, 50),
                 font=ImageFont.load_default(28))
    shape = Image.new("L", (WIDTH, HEIGHT), 0)
    ImageDraw.Draw(shape).rounded_rectangle((180, 60, 460, 420), radius=20, fill=255)
    return np.dstack([np.asarray(drawn), cv2.GaussianBlur(np.asarray(shape), (0, 0), soft)])


def sample(name: str) -> Picture:
    photo = Image.open(EXAMPLES / "products" / f"{name}.jpg").convert("RGB")
    photo.putalpha(Image.open(EXAMPLES / "truth" / f"{name}-mask.png").convert("L"))
    return np.array(photo)


def plain(placed: Picture) -> Picture:
    return np.full((*placed.shape[:2], 3), (205, 208, 212), dtype=np.uint8)


def wooden(placed: Picture) -> Picture:
    """Brown, streaked and grained."""
    generator = np.random.default_rng(1)
    streaks, grain = (cv2.GaussianBlur(generator.normal(0, 1, placed.shape[:2]), (0, 0), *sigmas)
                      for sigmas in ((12, 2), (1.5, 1.5)))
    shade = 18 * streaks / streaks.std() + 8 * grain / grain.std()
    return np.clip(np.array([150, 112, 74]) + shade[:, :, None] * [1, 0.9, 0.75], 0, 255).astype(np.uint8)


def lit_from_the_right(placed: Picture) -> Picture:
    """-0.75 stops at the product's left end to +0.75 at its right, held where highlights would go, as `mix` does."""
    ends = np.flatnonzero(placed[:, :, 3].max(axis=0) > 127)[[0, -1]]
    stops = np.interp(np.arange(placed.shape[1]), ends, [-0.75, 0.75])[None, :, None]
    linear = to_linear(rgb_of(placed))
    gain = within_headroom((2**stops * np.ones_like(linear[:, :, :1])).astype(np.float32), alpha_of(placed),
                           rgb_of(placed))
    return np.dstack([np.clip(np.rint(to_encoded(linear * gain)), 0, 255).astype(np.uint8), placed[:, :, 3]])


def grown(placed: Picture, by: float, from_row: int = 0) -> Picture:
    """The product going on for `by` pixels beyond its outline, each the colour nearest a little inside."""
    alpha = placed[:, :, 3]
    source = cv2.erode((alpha == 255).astype(np.uint8), np.ones((7, 7), np.uint8))
    _, labels = cv2.distanceTransformWithLabels(1 - source, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    nearest = np.zeros((labels.max() + 1, 3), dtype=np.uint8)
    nearest[labels[source > 0]] = placed[source > 0][:, :3]
    more = cv2.distanceTransform((alpha < 128).astype(np.uint8), cv2.DIST_L2, 5) <= by
    more &= (alpha < 255) & (np.arange(len(alpha)) >= from_row)[:, None]
    result = placed.copy()
    result[more, :3] = nearest[labels[more]]
    result[more, 3] = 255
    return result


def middle_row(placed: Picture) -> int:
    return int(np.flatnonzero(placed[:, :, 3].max(axis=1) > 127).mean())


def shadowed(background: Picture, placed: Picture, down: int, across: int, blur: float, depth: float) -> Picture:
    """The product's shadow, moved so many pixels, takes a share `depth` of the light."""
    moved = np.roll(alpha_of(placed)[:, :, 0], (down, across), (0, 1))
    light = to_linear(background) * (1 - depth * cv2.GaussianBlur(moved, (0, 0), blur))[:, :, None]
    return np.rint(to_encoded(light)).astype(np.uint8)


def measured(placed: Picture, picture: Picture) -> dict[str, Measure]:
    return {one.name: one for one in measures(placed, picture)}


def value(name: str, placed: Picture, picture: Picture) -> float:
    found = measured(placed, picture)[name].value
    assert found is not None
    return found


def with_colours(placed: Picture, colours: Picture | Floats) -> Picture:
    return np.dstack([colours.astype(np.uint8), placed[:, :, 3]])


def test_the_measures_come_in_order_and_an_intact_product_has_no_fault() -> None:
    found = measures(carton(), over(carton(), plain(carton())))
    assert [one.name for one in found] == ["min_tile_ncc", "clipped_share", "expansion"]
    assert [one.value for one in found] == [pytest.approx(1, abs=1e-5), 0, 0]
    assert not np.array_equal(over(carton(), plain(carton())), plain(carton()))


@pytest.mark.parametrize("behind", [plain, wooden])
@pytest.mark.parametrize("name", [*OPAQUE, "carton"])
def test_light_is_no_damage(name: str, behind: Backdrop) -> None:
    placed = carton() if name == "carton" else sample(name)
    lit = over(lit_from_the_right(placed), behind(placed))
    assert np.ptp(lit.astype(int) - over(placed, behind(placed)), axis=(0, 1)).min() > 40, "or the light did nothing"
    assert value("min_tile_ncc", placed, lit) >= 0.98
    assert value("expansion", placed, lit) <= 0.01
    assert value("clipped_share", placed, lit) <= 0.005


@pytest.mark.parametrize("name", ["glass-jar", "bottle"])
def test_a_light_ramp_does_not_count_in_faintly_textured_tiles_of_small_pictures(name: str) -> None:
    placed = np.array(Image.fromarray(sample(name)).resize((192, 256), Image.Resampling.BOX))
    assert value("min_tile_ncc", placed, over(lit_from_the_right(placed), plain(placed))) >= 0.98


def test_three_wrong_characters_are_found_where_they_are() -> None:
    wrong = over(carton(("OAT & RYE", "gromelo", "with honey", "500 g net")), plain(carton()))
    found = measured(carton(), wrong)["min_tile_ncc"]
    assert found.value is not None
    assert found.value < 0.5
    x, y = (int(word.strip(",")) for word in np.array(found.said.split())[[3, 5]])
    assert LABEL[0] < x + 16 < LABEL[2] - 40
    assert 190 < y + 16 < 240, "the second line"


def test_a_redrawn_label_is_low() -> None:
    redrawn = over(carton(("DAL 8 BYF", "pnarolo", "mith kenoy", "800 q nel")), plain(carton()))
    assert value("min_tile_ncc", carton(), redrawn) < 0.6


@pytest.mark.parametrize("name", [*OPAQUE, "glass-jar", "carton"])
def test_a_moved_or_blurred_or_turned_print_is_low(name: str) -> None:
    placed = carton() if name == "carton" else sample(name)
    colours = rgb_of(placed)
    turned = colours.copy()
    for top in range(0, placed.shape[0] - 15, 16):
        turned[top:top + 16] = turned[top:top + 16][::-1]
    for damaged in (np.roll(colours, 1, axis=1), cv2.GaussianBlur(colours, (0, 0), 2), turned):
        assert value("min_tile_ncc", placed, over(with_colours(placed, damaged), plain(placed))) < 0.85


def test_clipped_pixels_are_counted_exactly() -> None:
    placed = np.zeros((20, 30, 4), dtype=np.uint8)
    placed[2:12, 5:25] = (200, 100, 50, 255)  # 200 pixels
    placed[2, 5:9, :3] = 255                  # white already
    placed[3, 5:9, :3] = 254                  # as good as white
    placed[4, 5:9, :3] = (255, 100, 50)       # one channel is full, and stays so
    placed[5, 5:9, 3] = 127                   # hardly product
    picture = rgb_of(placed).copy()
    picture[2:4, 5:9] = 255
    picture[5, 5:9] = 255
    picture[0, :] = 255                       # the background
    assert value("clipped_share", placed, picture) == 0
    picture[8, 10:17, 0] = 255                # seven lose a channel,
    picture[4, 5:8] = 255                     # and three more their hue
    picture[9, 10:17, 0] = 254
    found = measured(placed, picture)["clipped_share"]
    assert found.value == 10 / 196
    assert found.said == "10 of the product's 196 pixels"


@pytest.mark.parametrize("behind", [plain, wooden])
def test_a_carton_that_grew(behind: Backdrop) -> None:
    placed = carton()
    half = over(grown(placed, 30, middle_row(placed)), behind(placed))
    assert 0.35 <= value("expansion", placed, half) <= 0.55
    assert value("expansion", placed, over(grown(placed, 30), behind(placed))) >= 0.95
    assert value("expansion", placed, over(grown(placed, 12), behind(placed))) >= 0.95
    row = outline(placed, half)
    assert row.points[row.expanded][:, 0].min() > row.points[:, 0].mean() - 10


@pytest.mark.parametrize(("name", "least", "most"), [("bottle", 0.4, 0.6), ("mug", 0.35, 0.5), ("shoe-box", 0.35, 0.5),
                                                     ("sneaker", 0.45, 0.65), ("watch", 0.35, 0.5)])
def test_rendered_products_that_grew(name: str, least: float, most: float) -> None:
    placed = sample(name)
    half = over(grown(placed, 30, middle_row(placed)), wooden(placed))
    assert least <= value("expansion", placed, half) <= most
    everywhere = outline(placed, over(grown(placed, 30), wooden(placed)))
    assert everywhere.expanded.sum() >= 0.85 * everywhere.seeing.sum()


@pytest.mark.parametrize("behind", [plain, wooden])
@pytest.mark.parametrize("name", [*OPAQUE, "carton"])
def test_shadows_are_no_expansion(name: str, behind: Backdrop) -> None:
    placed = carton() if name == "carton" else sample(name)
    for down, across, blur, depth in ((14, 14, 8, 0.85), (20, 12, 1, 0.8), (6, 0, 4, 0.9)):
        picture = over(placed, shadowed(behind(placed), placed, down, across, blur, depth))
        assert value("expansion", placed, picture) <= 0.01


def test_what_may_be_a_shadow_as_well_as_product_is_not_decided() -> None:
    """Grey goods on a lighter grey. Black ones are darker than any shadow there, and are decided."""
    for body, decided in (((110, 112, 114), False), ((30, 30, 31), True)):
        placed = carton((), body)
        found = measured(placed, over(grown(placed, 30), plain(placed)))["expansion"]
        assert (found.value is not None and found.value > 0.95) == decided
        assert (found.value is None) != decided


def test_a_background_of_the_products_colour_tells_nothing() -> None:
    placed = carton()
    found = measured(placed, over(placed, np.full_like(plain(placed), (165, 82, 45))))["expansion"]
    assert found.value is None
    assert "cannot be told apart" in found.said


@pytest.mark.parametrize("soft", [0.5, 2, 3])
def test_a_soft_edge_is_no_expansion(soft: float) -> None:
    placed = carton(soft=soft)
    for background in (plain(placed), wooden(placed), np.full_like(plain(placed), 20)):
        assert value("expansion", placed, over(placed, background)) == 0


def test_the_frame_cuts_and_shows_nothing() -> None:
    placed = carton()[:, :400]  # beyond the frame, at the right, is more product: one side of four is blind
    picture = over(placed, plain(placed))
    found = outline(placed, picture)
    cut = found.points[:, 1] == found.points[:, 1].max()
    assert cut.sum() > 250
    assert not found.seeing[cut].any()
    assert found.seeing[~cut].mean() > 0.8
    assert value("expansion", placed, picture) == 0
    full = carton()
    full[:, :, 3] = 255
    assert measured(full, rgb_of(full))["expansion"].value is None


def test_specks_of_haze_are_no_outline() -> None:
    placed = carton()
    wanted = len(outline(placed, over(placed, plain(placed))).points)
    placed[100:300:3, 490:508:3, 3] = 2  # 30 px off and more
    assert len(outline(placed, over(placed, plain(placed))).points) == wanted


def test_glass_without_anything_opaque_has_no_outline() -> None:
    placed = carton()
    placed[:, :, 3] = placed[:, :, 3] * 0.6
    found = measured(placed, over(placed, plain(placed)))
    assert (found["expansion"].value, found["expansion"].said) == (None, "no outline of anything opaque")
    assert found["min_tile_ncc"].value is None


def test_an_outline_of_glass_is_blind_though_the_rest_can_tell() -> None:
    """A bottle of glass with an opaque base."""
    placed = carton()
    glass = placed.copy()
    glass[:, :, 3] = placed[:, :, 3] * 0.6
    glass[370:, :, 3] = placed[370:, :, 3]
    found = outline(glass, over(glass, plain(glass)))
    assert 0.2 < found.seeing.mean() < 0.5
    assert measured(glass, over(glass, plain(glass)))["expansion"].value is None


def test_what_is_opaque_deep_in_glass_says_nothing_of_the_outline() -> None:
    placed = carton(())
    glass = placed.copy()
    glass[:, :, 3] = placed[:, :, 3] * 0.6
    glass[88:392, 208:432, 3] = 255  # 28 px inside; the shares allow 19
    glass[88:392, 180:208, 3] = placed[88:392, 180:208, 3]  # and at the left up to the outline
    found = outline(glass, over(glass, plain(glass)))
    columns = found.points[:, 1]
    assert not found.seeing[columns > columns.min() + 40].any()
    assert found.seeing[columns == columns.min()].any()


@pytest.mark.parametrize("name", ["mug", "carton"])
def test_a_picture_four_times_as_large_is_measured_alike(name: str) -> None:
    placed = carton() if name == "carton" else sample(name)
    for final in (placed, grown(placed, 30, middle_row(placed))):
        picture = over(final, wooden(placed))
        larger = np.asarray(Image.fromarray(picture).resize((4 * picture.shape[1], 4 * picture.shape[0]),
                                                            Image.Resampling.LANCZOS))
        assert value("min_tile_ncc", placed, larger) > 0.99
        assert value("expansion", placed, larger) == pytest.approx(value("expansion", placed, picture), abs=0.03)


def test_large_products_are_measured_as_small_ones() -> None:
    placed = carton()
    for final in (placed, grown(placed, 30, middle_row(placed))):
        large, larger_final = (np.repeat(np.repeat(one, 5, 0), 5, 1) for one in (placed, final))
        small = value("expansion", placed, over(final, plain(placed)))
        assert value("expansion", large, over(larger_final, plain(large))) == pytest.approx(small, abs=0.03)


@pytest.mark.parametrize("shape", [(480, 639, 3), (240, 320, 3), (960, 640, 3), (720, 960, 3), (480, 640, 4)])
def test_pictures_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="640 x 480 px or an exact multiple"):
        measures(carton(), np.zeros(shape, dtype=np.uint8))


def test_a_product_without_alpha_is_refused() -> None:
    with pytest.raises(ValueError, match="RGBA"):
        measures(plain(carton()), plain(carton()))


def test_without_a_product_all_abstain() -> None:
    nothing = carton()
    nothing[:, :, 3] //= 3
    assert [(one.value, one.said) for one in measures(nothing, plain(nothing))] == [(None, "there is no product")] * 3


@pytest.mark.parametrize(("high", "wide"), [(1, 1), (2, 2), (5, 5), (31, 31), (38, 12), (12, 40)])
def test_products_of_any_extent_are_measured(high: int, wide: int) -> None:
    placed = np.zeros((48, 64, 4), dtype=np.uint8)
    placed[10:10 + high, 20:20 + wide] = (200, 30, 30, 255)
    found = measured(placed, over(placed, plain(placed)))
    assert found["min_tile_ncc"].value is None
    assert found["clipped_share"].value == 0
    assert found["expansion"].value in (None, 0)
