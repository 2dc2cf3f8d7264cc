"""The product's own colours where a soft edge mixed them with the backdrop: without this, a cut-out wears a halo."""

from __future__ import annotations

import cv2
import numpy as np

from models.matte import shrunk
from models.pictures import Floats, Picture

BLUR_AREA = 1_000_000
FAR, NEAR = 91, 7
"""Sides of the two box blurs, in pixels at BLUR_AREA. Forte's "Approximate Fast Foreground Colour Estimation" (ICIP
2021) gives 90, then 6; odd sides keep a blur centred."""


def foreground_colours(photo: Picture, alpha: Floats) -> Picture:
    """Solve photo = alpha * F + (1 - alpha) * B for F, the RGB colours of the product alone.

    photo: RGB (h, w, 3); alpha: (h, w) in 0..1. Where alpha is 1, F is the photo's own pixel, exactly; where it is 0
    there is nothing to see, and F is black so that equal products are equal bytes.
    """
    small = shrunk(photo, BLUR_AREA).astype(np.float32)
    small_alpha = cv2.resize(alpha, (small.shape[1], small.shape[0]), interpolation=cv2.INTER_AREA)[:, :, None]
    blurred, backdrop = _blurs(small, small, small_alpha, FAR)
    foreground = _fused(small, small_alpha, blurred, backdrop)
    blurred, backdrop = _blurs(foreground, backdrop, small_alpha, NEAR)

    size = (photo.shape[1], photo.shape[0])
    blurred, backdrop = (cv2.resize(blur, size, interpolation=cv2.INTER_LINEAR) for blur in (blurred, backdrop))
    soft = (alpha > 0) & (alpha < 1)
    colours = np.where(alpha[:, :, None] > 0, photo, np.uint8(0))
    colours[soft] = np.rint(_fused(photo[soft].astype(np.float32), alpha[soft, None], blurred[soft], backdrop[soft]))
    return colours


def _blurs(foreground: Floats, backdrop: Floats, alpha: Floats, side: int) -> tuple[Floats, Floats]:
    """Means of the foreground weighted by alpha and of the backdrop weighted by 1 - alpha, in windows of `side`."""
    def weighted(values: Floats, weight: Floats) -> Floats:
        total = cv2.blur(weight, (side, side))[:, :, None]
        return np.asarray(cv2.blur(values * weight, (side, side)) / (total + 1e-5))

    return weighted(foreground, alpha), weighted(backdrop, 1 - alpha)


def _fused(photo: Floats, alpha: Floats, foreground: Floats, backdrop: Floats) -> Floats:
    """Give the part of the photo that the two blurs do not explain to the foreground, in proportion to alpha."""
    unexplained = photo - alpha * foreground - (1 - alpha) * backdrop
    return np.asarray(np.clip(foreground + alpha * unexplained, 0, 255), dtype=np.float32)
