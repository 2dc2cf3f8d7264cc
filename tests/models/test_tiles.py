"""Tiled or whole, the network's picture is one: exact where the overlap covers what the network sees, bounded below."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from spandrel import ModelLoader
from spandrel.architectures.ESRGAN import ESRGAN

from models import tiny
from models.pictures import Floats, Picture
from models.tiles import Network, Tiling, run_tiled
from models.tiny import name_seeded

PICTURE: Picture = np.random.default_rng(4).integers(0, 256, (75, 101, 3), dtype=np.uint8)


def tiled(network: Network, picture: Picture = PICTURE, factor: int = 4, *, largest: int | None = 40, margin: int = 4,
          feather: int = 8, per_call: int = 1, **asked: Any) -> Floats:
    tiling = Tiling(largest=largest, margin=margin, feather=feather, **asked)
    return run_tiled(network, picture, factor, tiling, lambda total: None, per_call=per_call)


def off(one: Floats, other: Floats) -> float:
    """On the network's scale, 0..1."""
    return float(np.abs(one - other).max()) / 255


def nearest(tiles: torch.Tensor) -> torch.Tensor:
    return tiles.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)


def convolution(layers: int) -> torch.nn.Module:
    """Sees `layers` pixels to each side, and black beyond its tile."""
    return name_seeded(torch.nn.Sequential(*(torch.nn.Conv2d(3, 3, 3, padding=1) for _ in range(layers))))


def esrgan() -> Any:
    """Real-ESRGAN's class at toy size. Of its convolutions 17 are at the picture's own size (15 in the one
    block), 1 at twice and 3 at four times that size: it sees 17 + 1 / 2 + 3 / 4 pixels to each side, so 19."""
    network = ESRGAN(in_nc=3, out_nc=3, num_filters=4, num_blocks=1, scale=4)
    return ModelLoader().load_from_state_dict(name_seeded(network).state_dict()).eval()


@pytest.mark.parametrize(("height", "width"), [(75, 101), (40, 40), (41, 32), (9, 300), (1, 1), (3, 70)])
@pytest.mark.parametrize(("margin", "feather"), [(0, 0), (0, 8), (4, 8), (9, 1)])
def test_pixels_that_are_only_repeated_come_back_as_they_are(
        height: int, width: int, margin: int, feather: int) -> None:
    picture = np.random.default_rng(5).integers(0, 256, (height, width, 3), dtype=np.uint8)
    result = tiled(nearest, picture, margin=margin, feather=feather)
    assert off(result, picture.repeat(4, axis=0).repeat(4, axis=1)) <= 1e-6


@pytest.mark.parametrize("layers", [1, 3, 5])
def test_tiled_is_whole_once_the_margin_is_as_wide_as_the_network_sees(layers: int) -> None:
    network = convolution(layers)
    whole = tiled(network, factor=1, largest=None, margin=layers)
    assert off(tiled(network, factor=1, margin=layers), whole) <= 1e-5
    assert off(tiled(network, factor=1, margin=layers - 1), whole) > 1e-4


@pytest.mark.parametrize(("network", "sees"), [(tiny.upscaler(), 4), (esrgan(), 19)], ids=["compact", "esrgan"])
def test_a_real_network_is_seamless_too(network: Any, sees: int) -> None:
    whole = tiled(network, largest=None, margin=sees)
    assert whole.std() > 5, "or there is nothing to tell apart"
    assert off(tiled(network, largest=sees * 2 + 24, margin=sees), whole) <= 1e-5


def test_with_less_overlap_the_difference_grows_and_is_bounded() -> None:
    """The less a network is shown the farther it is off, here as nowhere else: a network of noise."""
    network = convolution(8)
    whole = tiled(network, factor=1, largest=None, margin=8)
    found = [off(tiled(network, factor=1, margin=margin, largest=48), whole) for margin in (8, 6, 4, 2, 0)]
    assert found[0] <= 1e-5
    assert found[1] < 0.3 * whole.std() / 255 < found[-1] < np.ptp(whole) / 255
    assert all(less < more for less, more in pairwise(found))


@pytest.mark.parametrize(("feather", "steepest"), [(0, 1.0), (8, 0.196), (16, 0.098)])
def test_tiles_that_disagree_fade_into_each_other(feather: int, steepest: float) -> None:
    """One tile black, the next white: sin² over the feather is pi / 2 / feather at its steepest."""
    calls = []

    def network(tiles: torch.Tensor) -> torch.Tensor:
        calls.append(0)
        return torch.full_like(tiles, len(calls) % 2)

    row = tiled(network, PICTURE[:8, :48], 1, feather=feather)[4, :, 0] / 255
    assert len(calls) == 2
    assert (row[0], row[-1]) == (1, 0)
    assert np.abs(np.diff(row)).max() == pytest.approx(steepest, rel=0.02)


def test_at_the_border_the_network_sees_the_mirrored_picture_and_no_black() -> None:
    blur = torch.nn.Conv2d(3, 3, 5, padding=2, groups=3, bias=False)
    torch.nn.init.constant_(blur.weight, 1 / 25)
    for picture in (np.full((30, 90, 3), 200, np.uint8), np.full((2, 3, 3), 200, np.uint8)):
        assert off(tiled(blur, picture, 1), picture.astype(np.float32)) < 1e-5
    ramp = np.arange(0, 120, 2, dtype=np.uint8)[None, :, None].repeat(9, axis=0).repeat(3, axis=2)
    assert tiled(blur, ramp, 1)[4, 0, 0] == pytest.approx((4 + 2 + 0 + 2 + 4) / 5, abs=1e-3)


def test_every_tile_has_one_size_and_every_call_is_told() -> None:
    shapes, told = [], []

    def network(tiles: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(tiles.shape))
        return nearest(tiles)

    run_tiled(network, PICTURE, 4, Tiling(largest=48, margin=4, feather=8, multiple=4), told.append)
    assert set(shapes) == {(1, 3, 40, 48)}
    assert told == [len(shapes)] * len(shapes) == [9] * 9


@pytest.mark.parametrize("per_call", [2, 4, 100])
def test_how_many_tiles_go_in_a_call_changes_nothing(per_call: int) -> None:
    network = tiny.upscaler()
    assert off(tiled(network, per_call=per_call), tiled(network)) <= 1e-5, "but for the order of sums"


def test_a_network_gets_the_sides_it_asks_for() -> None:
    shapes = []

    def network(tiles: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(tiles.shape[2:]))
        return nearest(tiles)

    for asked in ({"multiple": 7}, {"minimum": 64}, {"square": True, "multiple": 5}):
        for picture in (PICTURE, PICTURE[:11, :20]):
            made = tiled(network, picture, **asked)
            assert off(made, picture.repeat(4, axis=0).repeat(4, axis=1)) <= 1e-6
            height, width = shapes[-1]
            assert not height % asked.get("multiple", 1)
            assert min(height, width) >= asked.get("minimum", 0)
            assert height == width or "square" not in asked


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(FloatingPointError, match="not finite"):
        tiled(lambda tiles: nearest(tiles) / 0)
