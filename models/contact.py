"""The shadow a product casts where it stands: how much darker the scene becomes in a soft band around its foot.

In linear light, float32. A retoucher would not paste the relit picture's floor, which has been through a VAE and has
another grain, tint and drawing; he would burn in its shadow. So one number a pixel comes over, never more than 1.
"""

from __future__ import annotations

from math import sqrt

import cv2
import numpy as np
from numpy.typing import NDArray

from models.gain import ROUNDS, STOPS, STRAY, light_stops, smooth
from models.matte import LEAST_PART, large_parts
from models.pictures import Floats

Mask = NDArray[np.bool_]

REACH, RISE, GROUND = 0.25, 0.5, 0.2
"""Shares of the product's size, the square root of its area. REACH: how far from the product's foot the band ends.
RISE: how far above the product's lowest point a foot, and the band, may still be; up to GROUND it counts in full. A box
seen from a corner stands on edges that climb by 0.35 (the shoe box of examples/); a mug's handle hangs at 0.32."""

SIGMA_SHARE = 0.02
"""Standard deviation of the low-pass as a share of the product's size: a third of the gain's, as a contact shadow is
smaller than the light on a product. At 0.015 the grain of a floor drawn anew came over, as ragged teeth along the
shadow; at 0.025 the darkest line right at the foot went (planks moved by 13 px, a sneaker, 768 px, 2026-11-21)."""

MARGIN = 0.006
"""Share of the product's size, 2 pixels at least, around its alpha that says nothing of the floor: a relit product
drawn a little too large would pass for a shadow."""

HAZE = 0.1
"""Alpha up to which a pixel shows the floor and nothing that stands on it: mattes leave such a veil. The clear glass at
the jar's base begins at 0.12 (examples/)."""

FAINT = 0.2
"""Stops under the floor's light from which a shadow comes over in full; the fainter it is, the less of it, and at 0
nothing. Added to it: twice what the floor around strays from its light by itself (noise, a floor drawn anew)."""

PRIOR = 0.002
"""Weight of "the floor's light is as before", as a share of the product's area in pixels: it decides where there is no
floor to be seen."""

SAMPLES = 20_000
"""Pixels at most, about, to which the floor's light is fitted: it has three numbers."""


def contact_shadow(alpha: Floats, unlit: Floats, lit: Floats) -> Floats:
    """The factor of the scene's light, (height, width, 1), in 2 ** -STOPS..1; exactly 1 outside the band.

    alpha: (height, width, 1) in 0..1, the product's; unlit, lit: linear RGB (height, width, 3), the scene with its
    product before and after relighting. The factor is meant for what lies behind the product: under its soft edge the
    nearest floor's goes on.

    Darker than the floor around it, not than the scene was: a relit picture that is darker as a whole, or lit from one
    side, casts no shadow by that, and a shadow on a brighter floor is not lost. What is brighter stays behind, so that
    nothing glows below a product. Luminance only: the floor's colour is the scene's.
    """
    product = large_parts(alpha[:, :, 0] > HAZE, LEAST_PART)
    if not product.any():
        return np.ones_like(alpha)
    size = sqrt(np.count_nonzero(product))
    band, around = _band(product, size)
    floor = _floor(alpha, size)
    stops = light_stops(floor, unlit, lit, SIGMA_SHARE * size)
    light, spread = _plane(stops[:, :, 0], around * floor[:, :, 0], size)
    darker = light[:, :, None] - stops
    # 0 deep under the product, where the low-pass no longer reaches any floor and means nothing.
    known = np.clip(100 * smooth(floor, SIGMA_SHARE * size), 0, 1)
    depth = np.clip(darker, 0, STOPS) * _step(darker / (FAINT + 2 * spread)) * known * band[:, :, None]
    return np.asarray(2**-depth, dtype=np.float32)


def _band(product: Mask, size: float) -> tuple[Floats, Floats]:
    """How much of a shadow may fall on each pixel, 0..1 (height, width), fading without a step; and how much it tells
    of the floor around, which begins within the band, for a product may leave no more of its picture free.

    The foot is the lowest pixel of each column, where that is low enough: what stands on a floor touches it there.
    """
    height, width = product.shape
    columns = np.flatnonzero(product.any(axis=0))
    lowest = height - 1 - np.argmax(product[::-1, columns], axis=0)
    above = ((lowest.max() - np.arange(height)) / size).astype(np.float32)
    foot = above[lowest] < RISE
    free = np.ones((height, width), np.uint8)
    free[lowest[foot], columns[foot]] = 0
    distance = cv2.distanceTransform(free, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) / np.float32(REACH * size)
    low = _step((RISE - above) / (RISE - GROUND))[:, None]
    band = _step(1 - distance)
    return band * low, (1 - band) ** 4 * (distance < 2) * (low > 0)


def _floor(alpha: Floats, size: float) -> Floats:
    """1 where the floor, or what else is behind, is seen clear of the product, else 0; (height, width, 1)."""
    side = 2 * max(2, round(MARGIN * size)) + 1
    return np.asarray(cv2.dilate(alpha, np.ones((side, side), np.uint8))[:, :, None] <= HAZE, dtype=np.float32)


def _plane(stops: Floats, weight: Floats, size: float) -> tuple[Floats, float]:
    """The change of light on the floor, in stops, as a plane (height, width) fitted by weight, strays counting less;
    and how far the floor strays from it by itself (standard deviation, in stops).
    """
    rows, columns = np.nonzero(weight)
    every = 1 + len(rows) // SAMPLES
    rows, columns = rows[::every], columns[::every]
    seen, given = (field[rows, columns].astype(np.float64) for field in (stops, weight))
    middle = (rows.mean(), columns.mean()) if len(seen) else (0.0, 0.0)
    basis = np.stack([np.ones(len(seen)), (rows - middle[0]) / size, (columns - middle[1]) / size], axis=1)
    prior = PRIOR * size**2 / every * np.eye(3)
    agreeing: NDArray[np.floating] = given
    for _ in range(ROUNDS):
        found = np.linalg.solve((basis.T * agreeing) @ basis + prior, (basis.T * agreeing) @ seen)
        strays = seen - basis @ found
        agreeing = given / (1 + (strays / STRAY) ** 2) ** 2
    spread = sqrt(agreeing @ strays**2 / max(agreeing.sum(), 1))
    down, across = ((np.arange(count) - start) / size for count, start in zip(stops.shape, middle, strict=True))
    return np.asarray(found[0] + found[1] * down[:, None] + found[2] * across, dtype=np.float32), spread


def _step(ramp: Floats) -> Floats:
    """0 up to 0, 1 from 1 on, smooth between and at both ends."""
    held = np.clip(ramp, 0, 1)
    return np.asarray(held * held * (3 - 2 * held))
