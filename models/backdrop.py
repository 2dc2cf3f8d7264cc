"""The studio backdrop of a photo: a smooth colour model fitted from the border inwards, and what still looks like it.

All pictures here are float32 (height, width, 3) in 0..1, sRGB-encoded, at the matte's working size.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from models.pictures import Floats

Mask = NDArray[np.bool_]

RING_SHARE = 0.04          # border ring, as a share of the shorter side
TUKEY = 4.685              # Tukey's biweight at 95 % efficiency for normal noise, in standard deviations
DARKEST_SHADOW = 0.30      # of the backdrop's sRGB value; 99 % of each sample's shadow is lighter
FAINTEST_EDGE = 0.010      # sRGB gradient per pixel that stops a flood; 90 % of each plain paper is below 0.0045


class Backdrop(NamedTuple):
    """like: looks like backdrop, lit or in shadow. reachable: the part of it joined to the picture's border without
    crossing an edge, which surely is backdrop.
    """

    like: Mask
    reachable: Mask


def find_backdrop(photo: Floats) -> Backdrop:
    """Tell the backdrop of a product photo from what stands before it.

    A shadow dims the backdrop by one factor for all channels and, but for its contact line, without an edge; so a
    pixel is like backdrop while it is the fitted colour times a factor in DARKEST_SHADOW..1, within the border's noise.
    The numbers above and below were set on examples/ on 2026-11-21, which tests/models/test_cut_out.py measures.
    """
    ring = _ring(photo.shape[0], photo.shape[1])
    colour, noise = _smooth_fit(photo, ring)
    power = np.sum(colour * colour, axis=2)
    factor = np.sum(photo * colour, axis=2) / power
    off_hue = np.linalg.norm(photo - np.clip(factor, 0, 1.1)[:, :, None] * colour, axis=2)
    brighter = (factor - 1) * np.sqrt(power)
    like = ((off_hue < max(0.025, 4 * float(np.median(off_hue[ring]))))
            & (factor > DARKEST_SHADOW) & (brighter < max(0.03, 3 * noise)))
    edges = _edges(photo)
    calm = like & (edges < max(FAINTEST_EDGE, 4 * float(np.median(edges[ring]))))
    return Backdrop(like=like, reachable=_flooded(calm))


def _ring(height: int, width: int) -> Mask:
    depth = max(4, round(RING_SHARE * min(height, width)))
    ring = np.ones((height, width), dtype=np.bool_)
    ring[depth:-depth, depth:-depth] = False
    return ring


def _smooth_fit(photo: Floats, ring: Mask) -> tuple[Floats, float]:
    """A quadratic surface for each channel, by reweighted least squares, and the standard deviation around it.

    First from the ring, where a product is the exception; then from every pixel that fits, which corrects the
    extrapolation to the middle. einsum and not `@`: BLAS may sum in another order on another number of threads.
    """
    height, width = photo.shape[:2]
    down, across = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    terms = np.stack([np.ones_like(down), down, across, down * across, down**2, across**2], axis=2)
    sparse = np.zeros_like(ring)
    sparse[::3, ::3] = True
    colour = np.broadcast_to(np.median(photo[ring], axis=0), photo.shape)
    noise = 0.0
    for used in [ring & sparse] * 6 + [sparse] * 6:
        noise = max(0.004, 1.4826 * float(np.median(np.linalg.norm(photo - colour, axis=2)[ring])))
        misfit = np.linalg.norm(photo[used] - colour[used], axis=1)
        weight = np.clip(1 - (misfit / (TUKEY * noise)) ** 2, 0, 1) ** 2 + 1e-9
        square = np.einsum("n,ni,nj->ij", weight, terms[used], terms[used])
        target = np.einsum("n,ni,nc->ic", weight, terms[used], photo[used].astype(np.float64))
        colour = np.einsum("hwi,ic->hwc", terms, np.linalg.solve(square, target))
    return np.clip(colour, 0.02, 1.0).astype(np.float32), noise


def _edges(photo: Floats) -> Floats:
    """The strongest channel's gradient per pixel, after a blur that quiets sensor noise and JPEG blocks."""
    calm = cv2.GaussianBlur(photo, (0, 0), 1.2)
    across, down = cv2.Sobel(calm, -1, 1, 0) / 8, cv2.Sobel(calm, -1, 0, 1) / 8
    return np.asarray(np.sqrt(np.max(across**2 + down**2, axis=2)), dtype=np.float32)


def _flooded(calm: Mask) -> Mask:
    """The part of `calm` joined to the picture's border through gaps of at least 3 pixels.

    Narrower gaps are leaks: where a grey product's outline fades, the flood would seep into it.
    """
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    wide = cv2.erode(calm.astype(np.uint8), disc, borderType=cv2.BORDER_CONSTANT, borderValue=1)
    _, regions = cv2.connectedComponents(wide, connectivity=4)
    outermost = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    flooded = np.isin(regions, np.unique(outermost[outermost > 0]))
    return np.asarray((cv2.dilate(flooded.astype(np.uint8), disc) > 0) & calm)
