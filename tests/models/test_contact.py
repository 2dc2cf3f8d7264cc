import warnings

import cv2
import numpy as np
import pytest
from relighting import (
    BACKGROUND,
    COLUMNS,
    ROWS,
    SIDE,
    carton,
    correlations,
    dimmed,
    from_the_right,
    garbled,
    lit_by,
    mixed,
    sample,
    shadow_of,
    size_of_product,
)

from models.contact import HAZE, REACH, RISE, contact_shadow
from models.gain import STOPS, to_encoded, to_linear
from models.pictures import Floats, Picture, alpha_of, over, rgb_of

# Small enough to leave floor around it: 108 x 118 px.
PRODUCT = np.zeros((SIDE, SIDE, 4), dtype=np.uint8)
PRODUCT[20:174, 51:205] = cv2.resize(carton(), (154, 154), interpolation=cv2.INTER_AREA)
SIZE = size_of_product(PRODUCT)
BASE = int(np.flatnonzero(PRODUCT[:, :, 3].max(axis=1) > 127)[-1])
OUTSIDE = PRODUCT[:, :, 3] == 0
FLOOR = np.full((SIDE, SIDE, 3), (170, 150, 125), dtype=np.uint8)
FOOT = np.s_[BASE + 4:BASE + 12, 84:172]


def standing(placed: Picture = PRODUCT, floor: Picture = FLOOR) -> Picture:
    return over(placed, floor)


def came_over(relit_floor: Picture, placed: Picture = PRODUCT, floor: Picture = FLOOR, scale: float = 1.0) -> Floats:
    """Stops by which the floor became darker, (height, width), under an otherwise unchanged relit picture."""
    result = mixed(placed, over(placed, floor), over(placed, relit_floor), scale)
    return np.asarray(np.log2(to_linear(floor).mean(axis=2) / to_linear(result).mean(axis=2)), dtype=np.float32)


def noisy(picture: Picture, sigma: float = 6) -> Picture:
    noise = np.random.default_rng(4).normal(0, sigma, picture.shape)
    return np.asarray(np.clip(np.rint(picture + noise), 0, 255), dtype=np.uint8)


def planks(shift: int) -> Picture:
    """A floor of boards 30 px wide with dark seams and a grain."""
    grain = cv2.GaussianBlur(np.random.default_rng(1).normal(0, 1, (SIDE, SIDE)), (0, 0), 2, sigmaY=10)
    codes = 150 + 6 * (COLUMNS // 30 % 3) + 5 * grain / grain.std() - 60 * (COLUMNS % 30 < 2)
    return np.asarray(np.roll(np.clip(codes, 0, 255)[:, :, None] * [1, 0.85, 0.7], shift, axis=1), dtype=np.uint8)


def test_the_shadow_at_the_foot_comes_over_and_follows_the_exponent() -> None:
    stops = shadow_of(PRODUCT)
    found = came_over(dimmed(FLOOR, stops))
    assert stops[FOOT].mean() > 0.7
    assert found[FOOT].mean() == pytest.approx(stops[FOOT].mean(), rel=0.25)
    assert came_over(dimmed(FLOOR, stops), scale=0.5)[FOOT].mean() == pytest.approx(found[FOOT].mean() / 2, rel=0.05)
    assert np.array_equal(mixed(PRODUCT, standing(), standing(floor=dimmed(FLOOR, stops)), 0), standing())


def test_outside_the_band_the_scenes_bytes_come_back_whatever_the_relit_picture_is() -> None:
    relit = np.random.default_rng(2).integers(0, 255, FLOOR.shape, dtype=np.uint8)
    relit[BASE - 20:BASE + 40] //= 8
    scene = over(PRODUCT, BACKGROUND)
    result = mixed(PRODUCT, scene, relit)
    changed = (result != scene).any(axis=2) & OUTSIDE
    assert changed.sum() > 1000
    rows, columns = np.nonzero(changed)
    assert rows.min() >= BASE - 0.5 * SIZE == BASE - RISE * SIZE
    foot = np.nonzero((PRODUCT[:, :, 3] > 255 * HAZE) & (ROWS > BASE - RISE * SIZE))
    farthest = max(np.hypot(foot[0] - row, foot[1] - column).min() for row, column in zip(rows, columns, strict=True))
    assert farthest <= 0.25 * SIZE == REACH * SIZE
    assert np.all(result[OUTSIDE] <= scene[OUTSIDE]), "a shadow never brightens"


@pytest.mark.parametrize("relit_floor", [
    pytest.param(dimmed(FLOOR, np.full((SIDE, SIDE), 0.8)), id="darker as a whole"),
    pytest.param(dimmed(FLOOR, np.full((SIDE, SIDE), -0.5)), id="brighter as a whole"),
    pytest.param(dimmed(FLOOR, (COLUMNS - 128) / 170), id="lit from the left"),
    pytest.param(dimmed(FLOOR, -shadow_of(PRODUCT)), id="a glow below the product"),
    pytest.param(noisy(FLOOR), id="noise"),
    pytest.param(np.asarray(FLOOR * [1.25, 1, 0.6], dtype=np.uint8), id="tinted"),
])
def test_what_is_no_shadow_changes_nothing(relit_floor: Picture) -> None:
    result = mixed(PRODUCT, standing(), standing(floor=relit_floor))
    assert np.abs(result[OUTSIDE].astype(int) - standing()[OUTSIDE]).max() <= 1


@pytest.mark.parametrize("stops", [-0.5, 0.5])
def test_a_shadow_on_a_brighter_or_darker_floor_is_as_deep_as_on_the_scenes_own(stops: float) -> None:
    shadow = shadow_of(PRODUCT)
    found = came_over(dimmed(FLOOR, shadow + stops))
    assert found[FOOT].mean() == pytest.approx(came_over(dimmed(FLOOR, shadow))[FOOT].mean(), abs=0.1)


def test_a_dark_thing_drawn_on_the_floor_beside_is_not_the_floors_light() -> None:
    shadow = shadow_of(PRODUCT)
    pen = 3.0 * ((COLUMNS > 196) & (COLUMNS < 214) & (ROWS > 110))
    found = came_over(dimmed(FLOOR, shadow + pen))
    assert found[FOOT].mean() == pytest.approx(came_over(dimmed(FLOOR, shadow))[FOOT].mean(), abs=0.03)


def test_a_product_that_leaves_little_floor_has_its_shadow_too() -> None:
    large = carton()
    shadow, foot = shadow_of(large, depth=2), np.s_[230:240, 60:196]
    found = came_over(dimmed(FLOOR, shadow + 0.5), large)
    assert found[foot].mean() == pytest.approx(shadow[foot].mean(), rel=0.2)


def test_a_dark_rim_all_around_stays_behind_but_at_the_foot() -> None:
    """What a network draws around a pasted product. At the foot it is a shadow."""
    rim = 1.5 * np.clip(cv2.GaussianBlur(alpha_of(PRODUCT)[:, :, 0], (0, 0), 10) * 2, 0, 1)
    relit = standing(floor=dimmed(FLOOR, rim))
    changed = (mixed(PRODUCT, standing(), relit) != standing()).any(axis=2) & OUTSIDE
    assert (relit != standing()).any(axis=2)[60:80, 62:70].mean() > 0.5, "or there was no rim"
    assert changed[FOOT].all()
    assert not changed[:int(BASE - RISE * SIZE)].any()
    assert not changed[:int(BASE - REACH * SIZE) - 20].any(), "beside the product, neither"


@pytest.mark.parametrize("shift", [7, 15])
def test_a_floor_drawn_anew_leaves_no_trace(shift: int) -> None:
    found = came_over(noisy(planks(shift)), floor=planks(0))
    assert np.median(np.abs(found[FOOT])) < 0.03
    assert np.abs(found[OUTSIDE]).max() < 0.3
    shadow = shadow_of(PRODUCT)
    found = came_over(noisy(dimmed(planks(shift), shadow)), floor=planks(0))
    assert found[FOOT].mean() == pytest.approx(shadow[FOOT].mean(), rel=0.3)


def test_the_shadow_is_smooth_and_has_the_floors_colour() -> None:
    warm = np.clip(noisy(dimmed(FLOOR, shadow_of(PRODUCT))) * [1.2, 1.0, 0.7], 0, 255).astype(np.uint8)
    result = mixed(PRODUCT, standing(), standing(floor=warm))
    ratio = (to_linear(result) / to_linear(FLOOR))[FOOT]
    assert np.ptp(ratio, axis=2).max() < 0.03, "no tint"
    assert np.abs(cv2.Laplacian(np.log2(ratio.mean(axis=2)), cv2.CV_32F)[1:-1, 1:-1]).mean() < 0.03, "no noise"


def test_the_band_ends_without_a_step_where_the_shadow_does_not() -> None:
    pool = 2 * np.clip((BASE + 0.6 * SIZE - ROWS) / 3, 0, 1)  # dark down to beyond the band
    pool *= np.clip((np.abs(COLUMNS - 128) < 70) * 1.0, 0, 1) * (ROWS > BASE - 30)
    factor = contact_shadow(alpha_of(PRODUCT), to_linear(standing()), to_linear(standing(floor=dimmed(FLOOR, pool))))
    below = np.log2(factor[BASE + 2:, 128, 0])
    assert below.min() < -0.8
    assert np.abs(np.diff(below)).max() < 0.1
    assert below[int(0.9 * REACH * SIZE)] > -0.1


@pytest.mark.parametrize("behind", [60, 200])
def test_the_soft_edge_stands_in_the_shadow_too(behind: int) -> None:
    """Behind it the floor is known only mixed with the product: it must come out as if it were known."""
    floor = np.full_like(FLOOR, behind)
    scene, relit = over(PRODUCT, floor), over(PRODUCT, dimmed(floor, shadow_of(PRODUCT)))
    factor = contact_shadow(alpha_of(PRODUCT), to_linear(scene), to_linear(relit))
    dark_floor = np.rint(to_encoded(to_linear(floor) * factor)).astype(np.uint8)
    edge = (PRODUCT[:, :, 3] > 0) & (PRODUCT[:, :, 3] < 255)
    low = edge & (ROWS > BASE - 4) & (np.abs(COLUMNS - 128) < 40)
    assert factor[low].max() < 0.7, "no light line between the product and its shadow"
    off = mixed(PRODUCT, scene, relit).astype(int) - over(PRODUCT, dark_floor)
    assert np.abs(off[edge]).max() <= 3


def test_a_relit_product_drawn_a_little_too_large_is_no_shadow() -> None:
    larger = PRODUCT.copy()
    larger[:, :, 3] = cv2.dilate(PRODUCT[:, :, 3], np.ones((5, 5), np.uint8))
    larger[:, :, :3] = np.where(larger[:, :, 3:] > PRODUCT[:, :, 3:], np.uint8(110), PRODUCT[:, :, :3])
    result = mixed(PRODUCT, standing(), over(larger, FLOOR))
    assert np.abs(result[OUTSIDE].astype(int) - standing()[OUTSIDE]).max() <= 2


def test_what_hangs_above_the_ground_has_no_foot() -> None:
    """A shelf's board, wide and high above a narrow stand."""
    placed = np.zeros((SIDE, SIDE, 4), dtype=np.uint8)
    placed[40:80, 20:236] = placed[80:230, 110:146] = (120, 80, 60, 255)
    found = came_over(dimmed(FLOOR, shadow_of(placed) + 1.5 * (ROWS > 80) * (ROWS < 110)), placed)
    assert found[231:240, 112:144].mean() > 0.3
    assert np.abs(found[:120][placed[:120, :, 3] == 0]).max() == 0


def test_a_veil_over_the_matte_does_not_hide_the_floor() -> None:
    veiled = PRODUCT.copy()
    veiled[:, :, 3] = np.maximum(PRODUCT[:, :, 3], 5)
    relit = dimmed(FLOOR, shadow_of(PRODUCT))
    assert came_over(relit, veiled)[FOOT].mean() == pytest.approx(came_over(relit)[FOOT].mean(), rel=0.1)


@pytest.mark.parametrize("alpha", ["none", "half", "all", "one pixel", "at the bottom", "at the side"])
def test_products_of_any_extent_and_place_have_a_factor_of_0_to_2_stops(alpha: str) -> None:
    shape = np.zeros((90, 70, 1), dtype=np.float32)
    where = {"half": np.s_[:], "all": np.s_[:], "one pixel": np.s_[40:41, 30:31], "at the bottom": np.s_[50:, 20:40],
             "at the side": np.s_[30:60, :20], "none": np.s_[:0]}[alpha]
    shape[where] = 0.5 if alpha == "half" else 1
    generator = np.random.default_rng(7)
    unlit, lit = (generator.random((90, 70, 3), dtype=np.float32) ** 3 for _ in range(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        factor = contact_shadow(shape, unlit, lit)
    assert factor.shape == shape.shape
    assert np.all((factor >= 2**-STOPS) & (factor <= 1))
    assert alpha in ("one pixel", "at the bottom", "at the side") or np.all(factor == 1)


@pytest.mark.parametrize("name", ["shoe-box", "glass-jar", "watch"])
def test_the_print_survives_with_a_shadow(name: str) -> None:
    placed = sample(name, 512)
    floor = np.full((*placed.shape[:2], 3), 150, dtype=np.uint8)
    light = from_the_right(placed)
    relit = over(lit_by(garbled(placed), light), noisy(dimmed(floor, shadow_of(placed))))
    shadowed, plain = (mixed(placed, over(placed, floor), picture) for picture in (
        relit, over(lit_by(garbled(placed), light), floor)))
    core = placed[:, :, 3] == 255
    assert correlations(shadowed, placed).min() >= 0.98
    off = shadowed[core].astype(int) - plain[core]
    assert np.abs(off).max() <= 2, "a shadow on the floor is none on the product"
    assert np.abs(off).mean() < 0.05
    assert np.count_nonzero((shadowed != plain).any(axis=2)) > 500
    assert rgb_of(placed).shape == shadowed.shape
