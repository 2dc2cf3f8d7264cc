"""A picture-to-picture network over overlapping tiles, as if it had seen the whole picture at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from math import ceil
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from models.pictures import Floats, Picture, size_of

Network = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """How a picture is cut; all in pixels of the picture given.

    largest: a tile's longest side, None for the whole picture in one piece; margin: what the network sees around the
    part that is used, since at a tile's edge it sees its own padding; feather: over how many pixels neighbours fade
    into each other; multiple, minimum, square: what the network asks of a tile's sides.

    The result is the whole picture's where the margin is as wide as the network sees to one side, which is half of its
    receptive field less one: the overlap then covers the field.
    """

    largest: int | None
    margin: int
    feather: int
    multiple: int = 1
    minimum: int = 0
    square: bool = False

    @property
    def overlap(self) -> int:
        return 2 * self.margin + self.feather

    def fitting(self, side: int) -> int:
        return ceil(max(side, self.minimum) / self.multiple) * self.multiple


LARGEST, MARGIN, FEATHER = 512, 16, 32
"""For Real-ESRGAN's RRDBNet. In theory it sees 347 pixels to each side (347 convolutions of 3 x 3), which no tile can
afford; its own tool cuts hard at 10 pixels (realesrgan/utils.py, tile_pad). An overlap of 64 is the most in practice
(spec/omni-bg.md 6: 32 to 64). Larger tiles waste less on it, but in float32 each copy of the last layers' 64 channels
takes 1.1 GB at 512 pixels (64 x 2048 x 2048 x 4 bytes)."""

PER_CALL = 1
"""Tiles in one call of the network: one of 400 pixels and more fills a GPU, and so every call has the same shape."""


class Span(NamedTuple):
    """One tile's part of one axis."""

    start: int                    # of the tile, in the padded picture
    kept: slice                   # of the tile's result, in its own pixels
    goes: slice                   # where that goes in the whole result
    share: NDArray[np.float32]    # how much of each of those pixels is this tile's; 1 over all tiles


def run_tiled(network: Network, picture: Picture, factor: int, tiling: Tiling, called: Callable[[int], None], *,
              per_call: int = PER_CALL) -> Floats:
    """float32 (height x factor, width x factor, 3) in 0..255, not rounded: what the network makes of an RGB picture.

    network: float32 (count, 3, h, w) in 0..1 on the CPU -> (count, 3, h x factor, w x factor), wherever it lies. Around
    the picture it sees the picture's mirror image. All tiles of a picture have one size, which depends on the picture's
    size alone; the last of a row or column is moved inwards. called(total) is told of each of `total` calls. Takes
    the result's memory and one call's. Raises FloatingPointError where the network's values are not finite.
    """
    sides = [_side(length, tiling) for length in size_of(picture)]
    if tiling.square:
        sides = [max(sides)] * 2
    spans = [_spans(length, side, factor, tiling) for length, side in zip(size_of(picture), sides, strict=True)]
    padded = np.pad(picture, (*((tiling.margin, max(tiling.margin, side - length - tiling.margin))
                                for length, side in zip(size_of(picture), sides, strict=True)), (0, 0)), mode="reflect")
    tiles = list(product(*spans))
    made = np.zeros((*(factor * length for length in size_of(picture)), 3), dtype=np.float32)
    for first in range(0, len(tiles), per_call):
        group = tiles[first:first + per_call]
        given = np.stack([padded[down.start:down.start + sides[0], across.start:across.start + sides[1]]
                          for down, across in group])
        for (down, across), result in zip(group, _run(network, given), strict=True):
            made[down.goes, across.goes] += (
                result[down.kept, across.kept] * (255 * down.share[:, None, None] * across.share[:, None]))
        called(ceil(len(tiles) / per_call))
    return made


def _run(network: Network, tiles: Picture) -> Floats:
    """(count, h, w, 3) through the network, in 0..1."""
    with torch.inference_mode():
        made = network(torch.from_numpy(tiles).permute(0, 3, 1, 2).float() / 255)
        result = made.permute(0, 2, 3, 1).float().cpu().numpy()
    if not np.isfinite(result).all():
        raise FloatingPointError(f"the network gave values that are not finite in {made.dtype}")
    return np.asarray(result)


def _side(length: int, tiling: Tiling) -> int:
    """A tile's side along an axis: no longer than its number of tiles needs, for the overlap is computed twice."""
    whole, overlap = length + 2 * tiling.margin, tiling.overlap
    if tiling.largest is None or whole <= tiling.largest:
        return tiling.fitting(whole)
    count = ceil((whole - overlap) / (tiling.largest - overlap))
    return tiling.fitting(ceil((whole + (count - 1) * overlap) / count))


def _spans(length: int, side: int, factor: int, tiling: Tiling) -> list[Span]:
    last = max(0, length + 2 * tiling.margin - side)
    starts = [*range(0, last, side - tiling.overlap), last] if last else [0]
    used = side - 2 * tiling.margin
    fade = np.sin(np.pi / 2 * (np.arange(used * factor) + 0.5) / max(1, tiling.feather * factor)) ** 2
    fade[tiling.feather * factor:] = 1
    weights = np.zeros((len(starts), (last + used) * factor))
    for weight, start in zip(weights, starts, strict=True):
        weight[start * factor:(start + used) * factor] = np.minimum(fade, fade[::-1])
    shares = (weights / weights.sum(axis=0)).astype(np.float32)
    ends = [min(start + used, length) for start in starts]
    return [Span(start=start, kept=slice(tiling.margin * factor, (tiling.margin + end - start) * factor),
                 goes=slice(start * factor, end * factor), share=share[start * factor:end * factor])
            for start, end, share in zip(starts, ends, shares, strict=True)]
