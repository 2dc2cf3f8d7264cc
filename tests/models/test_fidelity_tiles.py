"""Which tiles of a product are compared: all that lie wholly in its core, up to its very sides."""

import numpy as np
import pytest

from models.fidelity import Measure, measures
from models.pictures import Picture, rgb_of


def tiles(placed: Picture, picture: Picture) -> Measure:
    return measures(placed, picture)[0]


def value(placed: Picture, picture: Picture) -> float:
    found = tiles(placed, picture).value
    assert found is not None
    return found


def noise(side: int = 160, inner: int = 20) -> Picture:
    """A square of noise, so that every tile is textured alike, its box starting at (inner, inner)."""
    placed = np.zeros((side, side, 4), dtype=np.uint8)
    box = placed[inner:-inner, inner:-inner]
    box[:, :, :3] = np.random.default_rng(3).integers(30, 200, (*box.shape[:2], 1))
    box[:, :, 3] = 255
    return placed


def test_damage_where_four_tiles_meet_is_seen_whole() -> None:
    placed = noise()
    picture = rgb_of(placed).copy()
    picture[68:100, 68:100] = picture[68:100, 68:100][::-1].copy()  # a tile on from the box's corner, and a half
    assert value(placed, picture) < 0.3


def test_a_negative_is_minus_one_and_a_blank_is_nothing() -> None:
    placed = noise()
    assert value(placed, 255 - rgb_of(placed)) == pytest.approx(-1, abs=1e-5)
    assert value(placed, np.full_like(rgb_of(placed), 90)) == pytest.approx(0, abs=1e-3)


def test_a_tile_that_is_not_wholly_opaque_is_not_compared() -> None:
    placed = noise()
    placed[68, 68, 3] = 249  # the first of a tile: the tile before it has only neighbours of it
    picture = rgb_of(placed).copy()
    picture[67:70, 67:70] = 0  # the pixel, and those that an enlarged picture mixes with it
    found = tiles(placed, picture)
    assert found.value == pytest.approx(1, abs=1e-5)
    placed[68, 68, 3] = 250
    assert value(placed, picture) < 0.995


@pytest.mark.parametrize("side", ["left", "right", "top", "bottom"])
@pytest.mark.parametrize("far", [94, 107, 120])
def test_a_strip_at_any_side_is_seen_whatever_the_products_size(side: str, far: int) -> None:
    placed = noise()
    placed[20 + far:, :, 3] = placed[:, 20 + far:, 3] = 0
    picture, own = rgb_of(placed).copy(), rgb_of(placed)
    where = {"left": np.s_[:, :30], "right": np.s_[:, 10 + far:], "top": np.s_[:30], "bottom": np.s_[10 + far:]}[side]
    picture[where] = 255 - own[where]
    assert value(placed, picture) < 0.7


@pytest.mark.parametrize("wide", [34, 40, 48])
def test_a_product_hardly_wider_than_a_tile_is_compared(wide: int) -> None:
    placed = noise()
    placed[:, 20 + wide:, 3] = 0
    assert value(placed, rgb_of(placed)[::-1]) < 0.3


def test_each_of_two_things_side_by_side_is_compared() -> None:
    placed = noise()
    placed[:, 70:90, 3] = 0
    picture = rgb_of(placed).copy()
    picture[:, 90:] = picture[::-1, 90:].copy()
    assert value(placed, picture) < 0.3


def test_a_slanted_product_is_compared_up_to_its_sides() -> None:
    placed = noise()
    rows, columns = np.mgrid[0:placed.shape[0], 0:placed.shape[1]]
    placed[:, :, 3] = np.where(abs(columns - 60 - rows / 4) < 25, placed[:, :, 3], 0)
    picture = rgb_of(placed).copy()
    picture[columns - 60 - rows / 4 > 6] //= 3
    assert value(placed, picture) < 0.9


@pytest.mark.parametrize(("alpha", "said"), [
    (255, "least"), (254, "least"), (250, "least"), (249, "no tile of 32 px is opaque")])
def test_a_product_whose_alpha_falls_a_little_short_of_255_is_measured_all_the_same(alpha: int, said: str) -> None:
    placed = noise()
    placed[:, :, 3] = np.minimum(placed[:, :, 3], alpha)
    found = tiles(placed, np.ascontiguousarray(rgb_of(placed)[::-1]))
    assert found.said.startswith(said)
    assert found.value is None or found.value < 0.3


@pytest.mark.parametrize(("sigma", "abstains"), [(6, True), (10, False)])
def test_without_texture_nothing_is_compared(sigma: int, abstains: bool) -> None:
    placed = noise()
    checks = np.where(np.indices((160, 160)).sum(axis=0) % 2, 100 - sigma, 100 + sigma)
    placed[:, :, :3] = checks[:, :, None]
    found = tiles(placed, rgb_of(placed))
    assert (found.value is None) == abstains
    assert (found.said == "nothing textured to compare") == abstains


@pytest.mark.parametrize(("channel", "abstains"), [(0, False), (1, False), (2, True)])
def test_blue_ink_on_black_is_hardly_texture_to_luma(channel: int, abstains: bool) -> None:
    placed = noise()
    placed[:, :, :3] = 0
    placed[:, :, channel] = 100 * (np.indices((160, 160)).sum(axis=0) % 2)
    assert (tiles(placed, rgb_of(placed)).value is None) == abstains
