import numpy as np
import pytest
from relighting import (
    BACKGROUND,
    COLUMNS,
    SIDE,
    carton,
    correlations,
    from_the_right,
    garbled,
    lit_by,
    luma,
    mixed,
    size_of_product,
    stops_of,
)

from models.gain import light_gain, to_encoded, to_linear, within_headroom
from models.pictures import alpha_of, over, rgb_of


def test_scale_0_returns_the_scene_exactly() -> None:
    product = carton()
    relit = over(lit_by(product, 1.6), BACKGROUND)
    for scene in (over(product, BACKGROUND), BACKGROUND):
        assert np.array_equal(mixed(product, scene, relit, scale=0), scene)


@pytest.mark.parametrize("scale", [0.1, 0.5, 1.0])
def test_a_relit_picture_that_changed_nothing_changes_nothing(scale: float) -> None:
    scene = over(carton(), BACKGROUND)
    assert np.array_equal(mixed(carton(), scene, scene, scale), scene)


@pytest.mark.parametrize("scale", [0.5, 1.0])
def test_the_light_comes_over_and_a_garbled_label_does_not(scale: float) -> None:
    product = carton()
    relit = over(lit_by(garbled(product), from_the_right(product)), BACKGROUND)
    result = mixed(product, over(product, BACKGROUND), relit, scale)
    assert np.sum(correlations(relit, product) < 0.9) >= 6, "or the label was never garbled"
    assert correlations(result, product).min() >= 0.98

    core = product[:, :, 3] == 255
    off = stops_of(result, product) - scale * np.log2(from_the_right(product))[:, :, 0]
    assert np.abs(off[core]).mean() < 0.1
    thirds = [stops_of(result, product)[:, left:left + 60][core[:, left:left + 60]].mean() for left in (38, 98, 158)]
    assert thirds[0] < thirds[1] < thirds[2]


@pytest.mark.parametrize("scale", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("stops", [-0.5, 0.5])
def test_even_light_multiplies_by_its_factor_to_the_power_of_the_scale(stops: float, scale: float) -> None:
    product = carton()
    result = mixed(product, over(product, BACKGROUND), over(lit_by(product, 2**stops), BACKGROUND), scale)
    core = product[:, :, 3] == 255
    wanted = lit_by(product, 2 ** (stops * scale))
    assert np.abs(result[core].astype(int) - rgb_of(wanted)[core]).max() <= 2


def test_noise_of_the_relit_picture_leaves_detail_untouched() -> None:
    product = carton()
    scene = over(product, BACKGROUND)
    noise = np.random.default_rng(5).normal(0, 20, scene.shape)
    relit = np.clip(np.rint(scene + noise), 0, 255).astype(np.uint8)
    off = mixed(product, scene, relit).astype(int) - scene
    assert np.abs(off).max() <= 4
    assert correlations(mixed(product, scene, relit), product).min() > 0.999


@pytest.mark.parametrize("block", [16, 32])
def test_a_hard_edge_of_light_is_followed_but_for_the_low_pass_and_the_label_stays_whole(block: int) -> None:
    """The shadow of something beside it falls on a third of it. models.gain says why the edge comes out soft."""
    product = carton()
    light = np.where(COLUMNS < 100, -0.6, 0.3).astype(np.float32)
    relit = over(lit_by(garbled(product, block), 2 ** light[:, :, None]), BACKGROUND)
    result = mixed(product, over(product, BACKGROUND), relit)
    core, away = product[:, :, 3] == 255, np.abs(COLUMNS - 100) > 0.12 * size_of_product(product)
    off = np.abs(stops_of(result, product) - light)
    assert off[core & away].mean() < 0.06
    assert off[core & ~away].mean() < 0.2
    assert correlations(result, product).min() >= 0.95, "a tile with the edge in it is unlike itself in plain light"


@pytest.mark.parametrize("behind", [0, 255])
def test_the_light_of_the_background_does_not_bleed_into_the_product(behind: int) -> None:
    product = carton(paper=100)
    background = np.full_like(BACKGROUND, 128)
    wanted = mixed(product, over(product, background), over(lit_by(product, 1.4), background))
    relit = over(lit_by(product, 1.4), np.full_like(BACKGROUND, behind))
    core = product[:, :, 3] == 255
    assert np.abs(mixed(product, over(product, background), relit).astype(int) - wanted)[core].max() <= 2


@pytest.mark.parametrize("behind", [15, 240])
@pytest.mark.parametrize("stops", [-1.0, 1.0])
def test_the_soft_edge_is_the_lit_product_over_the_background_without_a_rim(stops: float, behind: int) -> None:
    """The background behind the edge is only known mixed with the product: it must come out as if it were known."""
    product = carton(paper=100)
    background = np.full_like(BACKGROUND, behind)
    wanted = over(lit_by(product, 2**stops), background)
    result = mixed(product, over(product, background), wanted)
    edge = (product[:, :, 3] > 0) & (product[:, :, 3] < 255)
    assert edge.sum() > 1000
    assert np.abs(result[edge].astype(int) - wanted[edge]).max() <= 3


def test_the_lamps_tint_does_not_change_the_colours_of_goods() -> None:
    product = carton()
    orange = np.array([1.5, 1.0, 0.5], dtype=np.float32)
    result = mixed(product, over(product, BACKGROUND), over(lit_by(product, orange), BACKGROUND))
    core = product[:, :, 3] == 255
    own, made = to_linear(rgb_of(product))[core], to_linear(result)[core]
    assert np.abs(made / made.sum(axis=1, keepdims=True) - own / own.sum(axis=1, keepdims=True)).max() < 0.02


def test_a_white_label_is_not_blown_out_and_even_light_stays_even() -> None:
    product = carton(paper=235)
    scene, relit = over(product, BACKGROUND), over(lit_by(product, 2.0), BACKGROUND)
    result = mixed(product, scene, relit)
    core = product[:, :, 3] == 255
    blown = (result.max(axis=2) == 255) & (product[:, :, :3].max(axis=2) < 255) & core
    assert blown.sum() <= 0.005 * core.sum()
    assert np.mean(relit[core].max(axis=1) == 255) > 0.2, "or there was nothing to blow out"
    assert correlations(result, product).min() >= 0.999
    printed = core & (luma(product) > 30)
    assert np.ptp(stops_of(result, product)[printed]) < 0.1, "no shading that the light did not make"
    assert stops_of(result, product)[printed].mean() == pytest.approx(0.25, abs=0.05)  # log2 of 254 to 235, linear


def test_a_white_label_does_not_keep_the_shadow_off() -> None:
    product = carton(paper=252)
    relit = over(lit_by(product, from_the_right(product)), BACKGROUND)
    stops = stops_of(mixed(product, over(product, BACKGROUND), relit), product)
    assert stops[100:150, 45:55].mean() < -0.5
    assert abs(stops[100:150, 200:212].mean()) < 0.05


def test_white_pixels_have_nothing_to_lose_and_do_not_hold_the_light_back() -> None:
    """A glossy product's highlights, overexposed in the photo itself."""
    product = carton(paper=100)
    product[40:60, 60:200, :3] = 255
    result = mixed(product, over(product, BACKGROUND), over(lit_by(product, 1.5), BACKGROUND))
    body = (product[:, :, 3] == 255) & (product[:, :, 0] < 200)
    assert np.median(stops_of(result, product)[body]) > 0.4


def test_a_saturated_colour_is_not_pushed_out_of_its_hue() -> None:
    product = carton(paper=100, body=(255, 90, 20))
    result = mixed(product, over(product, BACKGROUND), over(lit_by(product, 1.5), BACKGROUND))
    body = (product[:, :, 3] == 255) & (product[:, :, 0] == 255)
    assert np.all(result[body] == product[body][:, :3])


def test_a_few_highlights_may_reach_white_and_hold_nothing_back() -> None:
    product = carton(paper=100)
    product[40:44, 100:104, :3] = 250
    result = mixed(product, over(product, BACKGROUND), over(lit_by(product, 1.5), BACKGROUND))
    core = product[:, :, 3] == 255
    assert np.array_equal(result[40:44, 100:104], np.full((4, 4, 3), 255))
    assert stops_of(result, product)[core & (product[:, :, 0] < 200)].min() > 0.5


@pytest.mark.parametrize("seed", range(4))
def test_at_most_one_pixel_in_200_clips_whatever_the_product(seed: int) -> None:
    """The bound holds by construction, so it is asked of noise and of a gain from nowhere."""
    generator = np.random.default_rng(seed)
    own = np.rint(255 * generator.random((60, 80, 3)) ** generator.uniform(0.2, 3)).astype(np.uint8)
    alpha = np.zeros((60, 80, 1), dtype=np.float32)
    alpha[10:50, 8:70] = 1
    wild = np.float32(2) ** generator.uniform(-2, 2, (60, 80, 1)).astype(np.float32)
    kept = within_headroom(wild, alpha, own)
    clipped = np.rint(to_encoded((to_linear(own) * kept).max(axis=2))) >= 255
    clipped &= own.max(axis=2) < 255
    assert np.count_nonzero(clipped & (alpha[:, :, 0] > 0)) <= 0.005 * alpha.sum()
    assert np.all(kept <= wild)
    assert np.array_equal(kept[wild <= 1], wild[wild <= 1])


@pytest.mark.parametrize(("bright", "wanted"), [(5, 2.0), (6, 1.05)])
def test_five_pixels_of_a_thousand_may_clip_and_the_sixth_holds_the_light_back(bright: int, wanted: float) -> None:
    own = np.full((10, 100, 3), 100, dtype=np.uint8)
    own[0, :bright] = 249
    kept = within_headroom(np.full((10, 100, 1), 2, np.float32), np.ones((10, 100, 1), np.float32), own)
    assert kept.max() == kept.min() == pytest.approx(wanted, abs=0.01)


@pytest.mark.parametrize("backdrop", [235, 250, 255])
def test_a_white_backdrops_rest_in_the_soft_edge_does_not_keep_the_light_off(backdrop: int) -> None:
    """As where a photo comes with an alpha of its own, and with its backdrop's colour in the edge."""
    product = carton(paper=170)
    own = over(product, np.full((SIDE, SIDE, 3), backdrop, np.uint8))
    product[:, :, :3] = np.where(product[:, :, 3:] < 255, own, product[:, :, :3])
    product[40:60, :, 3] = np.maximum(product[40:60, :, 3], 1)  # and a veil that nobody sees
    soft = (product[:, :, 3] > 0) & (product[:, :, 3] < 128)
    assert np.count_nonzero(soft) > 0.005 * np.count_nonzero(product[:, :, 3] > 127)
    scene = over(product, BACKGROUND)
    result = mixed(product, scene, over(lit_by(product, 2**0.75), BACKGROUND))
    assert np.median(stops_of(result, product)[product[:, :, 3] == 255]) > 0.7
    assert not ((result == 255) & (BACKGROUND < 200))[soft].any()


def test_a_black_product_stays_black_though_the_relit_one_is_lifted() -> None:
    product = np.full((64, 64, 4), 255, dtype=np.uint8)
    product[:, :, :3] = 3
    relit = np.full((64, 64, 3), 14, dtype=np.uint8)  # nearly 5 times the light, of which there is hardly any
    assert mixed(product, rgb_of(product).copy(), relit).max() <= 7


def test_the_gain_stays_within_two_stops() -> None:
    alpha = np.ones((48, 48, 1), dtype=np.float32)
    dark, bright = (np.full((48, 48, 3), level, dtype=np.float32) for level in (0.02, 0.9))
    assert light_gain(alpha, dark, bright).max() == 4
    assert light_gain(alpha, bright, dark).min() == 0.25


@pytest.mark.parametrize("shape", ["nothing", "one pixel", "everything"])
def test_products_of_any_extent_are_mixed(shape: str) -> None:
    product = carton()
    product[:, :, 3] = 255 if shape == "everything" else 0
    if shape == "one pixel":
        product[100, 100, 3] = 255
    scene = over(product, BACKGROUND)
    result = mixed(product, scene, over(lit_by(product, 1.3), BACKGROUND))
    changed = np.count_nonzero((result != scene).any(axis=2))
    assert changed == {"nothing": 0, "one pixel": 1}.get(shape, changed)
    assert (changed > SIDE * SIDE * 0.9) == (shape == "everything")


def test_linear_light_and_back_is_the_same_byte() -> None:
    codes = np.arange(256, dtype=np.uint8)
    assert np.abs(to_encoded(to_linear(codes)) - codes).max() < 1e-3
    assert to_linear(np.array([128], dtype=np.uint8))[0] == pytest.approx(0.21586, abs=1e-5)


def test_the_alpha_used_is_the_products() -> None:
    """A product half as opaque gains half as much at the same light."""
    product = carton(paper=100)
    half = product.copy()
    half[:, :, 3] //= 2
    scene, relit = over(half, BACKGROUND), over(lit_by(half, 1.8), BACKGROUND)
    wanted = alpha_of(half) * (rgb_of(lit_by(half, 1.8)).astype(float) - rgb_of(half))
    inside = np.s_[60:190, 60:190]
    assert np.abs(mixed(half, scene, relit).astype(float) - scene - wanted)[inside].max() < 12
