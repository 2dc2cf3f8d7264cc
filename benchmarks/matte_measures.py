"""How far a cut-out is from the truth: its alpha, and the old backdrop's colour that is left in its edge.

Alpha: the four measures of Rhemann et al., "A Perceptually Motivated Online Benchmark for Image Matting" (CVPR 2009),
but for the connectivity error, and the IoU. Halo: spec/peers-lineage-quality.md 5.2 (the colour difference between the
edge band and alpha times the nearest core colour plus 1 - alpha times the background), on several backgrounds: once
with the true alpha, once with the cut-out's own, which leaves the colours alone to differ.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.pictures import Floats, Picture

BACKGROUNDS = {"white": (255, 255, 255), "black": (0, 0, 0), "red": (215, 25, 30), "green": (20, 150, 60),
               "blue": (25, 60, 200)}
RING = 3
"""Pixels on either side of the true outline in which a halo is looked for: there 98 percent of the alpha error of the
opaque samples lies (2026-11-21)."""
FROM_CORE = 8
"""Pixels from the core within which its colour says what the edge should have: farther lie glass and thin parts."""
GRADIENT_SIGMA = 1.4
"""Of the Gaussian whose derivatives are compared, as the gradient error's authors have it."""


@dataclass(frozen=True, kw_only=True)
class AlphaError:
    """sad: sum of absolute differences in thousands of pixels; mad, mse: means over the photo; gradient: sum of squared
    differences of the gradients' lengths, in thousands; iou: of alpha > 0.5."""

    sad: float
    mad: float
    mse: float
    gradient: float
    iou: float


@dataclass(frozen=True, kw_only=True)
class Halo:
    """composite: mean CIE76 colour difference in the ring, over all backgrounds, to what the true alpha gives; colour:
    to what the cut-out's own alpha gives. left: the share of the old backdrop in the edge's colours, 0 where none is, 1
    where they are the old backdrop's; negative where its opposite is."""

    composite: float
    colour: float
    left: float


def alpha_error(alpha: Floats, truth: Floats) -> AlphaError:
    """alpha, truth: (height, width) in 0..1."""
    off = np.abs(alpha - truth)
    steeper = _slope(alpha) - _slope(truth)
    return AlphaError(
        sad=float(off.sum() / 1000), mad=float(off.mean()), mse=float((off ** 2).mean()),
        gradient=float((steeper ** 2).sum() / 1000),
        iou=float(np.sum((alpha > 0.5) & (truth > 0.5)) / np.sum((alpha > 0.5) | (truth > 0.5))))


def halo(cut: Picture, photo: Picture, truth: Floats) -> Halo:
    """cut: RGBA; photo: RGB it was cut from; truth: its true alpha. Composited in sRGB, as the passes do."""
    alpha = cut[:, :, 3:].astype(np.float32) / 255
    core, backdrop = _nearest(photo, truth > 0.99, shrink=2), _nearest(photo, truth < 0.01, shrink=2 * RING)
    ring = _ring(truth) & (core[1] <= FROM_CORE)
    true, own = truth[ring][:, None], alpha[ring]
    shown, wanted, old = cut[:, :, :3][ring].astype(np.float32), core[0][ring], backdrop[0][ring]
    composite, colour = [], []
    for background in BACKGROUNDS.values():
        new = np.array(background, np.float32)
        got = _lab(own * shown + (1 - own) * new)
        for differences, share in ((composite, true), (colour, own)):
            differences.append(np.linalg.norm(got - _lab(share * wanted + (1 - share) * new), axis=1).mean())
    away = own * (old - wanted)
    left = float((own * (shown - wanted) * away).sum() / (away ** 2).sum())
    return Halo(composite=float(np.mean(composite)), colour=float(np.mean(colour)), left=left)


def _ring(truth: Floats) -> NDArray[np.bool_]:
    solid = (truth > 0.5).astype(np.uint8)
    window = np.ones((2 * RING + 1,) * 2, np.uint8)
    return np.asarray((cv2.dilate(solid, window) > 0) & (cv2.erode(solid, window) == 0))


def _nearest(photo: Picture, where: NDArray[np.bool_], *, shrink: int) -> tuple[Floats, Floats]:
    """Of each pixel the colour (height, width, 3) of the nearest one that lies in `where`, `shrink` px or more within;
    and how far that is."""
    inside = cv2.erode(where.astype(np.uint8), np.ones((2 * shrink + 1,) * 2, np.uint8))
    distance, labels = cv2.distanceTransformWithLabels(1 - inside, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    colours = np.zeros((labels.max() + 1, 3), np.float32)
    colours[labels[inside > 0]] = photo[inside > 0]
    return colours[labels], distance


def _slope(alpha: Floats) -> Floats:
    smooth = cv2.GaussianBlur(np.asarray(alpha, np.float32), (0, 0), GRADIENT_SIGMA)
    return np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=1 / 8))


def _lab(colours: Floats) -> Floats:
    return np.asarray(cv2.cvtColor(np.float32(colours[None] / 255), cv2.COLOR_RGB2LAB)[0])
