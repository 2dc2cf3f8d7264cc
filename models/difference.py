"""How far two pictures of one size are apart, in levels of 8 bits."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from models.pictures import Picture


@dataclass(frozen=True, kw_only=True)
class Difference:
    """most, mean: of |a - b| over all pixels and channels, in levels 0..255; share: of the pixels that differ in any
    channel, 0..1; x, y: of the first pixel, row by row, where it is largest, from the top left."""

    most: int
    mean: float
    share: float
    x: int
    y: int


def difference(one: Picture, other: Picture) -> Difference:
    """Of two pictures (height, width, 3 or 4), uint8. Raises ValueError where their shapes differ."""
    if one.shape != other.shape:
        raise ValueError(f"pictures of the shapes {one.shape} and {other.shape} have no difference")
    apart = cv2.absdiff(one, other)
    by_pixel = apart.max(axis=2)
    y, x = np.unravel_index(int(by_pixel.argmax()), by_pixel.shape)
    return Difference(most=int(by_pixel[y, x]), mean=float(apart.mean(dtype=np.float64)),
                      share=float(np.count_nonzero(by_pixel) / by_pixel.size), x=int(x), y=int(y))


def stretched(one: Picture, other: Picture) -> Picture:
    """Where they differ and how much, as grey RGB: each pixel's largest |a - b|, the largest of all drawn white. Any
    difference at all is at least a dark grey (32 of 255), so that a single level beside a large one is still seen."""
    by_pixel = cv2.absdiff(one, other).max(axis=2)
    most = max(1, int(by_pixel.max()))
    levels = np.arange(256, dtype=np.float64)
    curve = np.where(levels > 0, 32 + (255 - 32) * np.minimum(levels / most, 1), 0)
    grey = np.rint(curve).astype(np.uint8)[by_pixel]
    return np.asarray(grey[..., None].repeat(3, axis=2), dtype=np.uint8)
