"""The classical matte: backdrop model, GrabCut at half a megapixel, guided filter. No weights."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from models.backdrop import Backdrop, Mask, find_backdrop
from models.guided_filter import guided_filter
from models.pictures import Floats, Picture

WORKING_AREA = 500_000     # pixels GrabCut sees: 0.6 s on one core
ROUNDS = 3                 # of GrabCut; a fourth moved no sample's IoU by 0.001 (2026-11-21)
REACH = 0.018              # of the shorter side: how far from sure backdrop a contact shadow is suspected
LEAST_PART = 0.02          # of the largest part's area: a smaller one is a speck, not one of a pair
LEAST_HOLE = 0.02          # of the shorter side: a narrower hole is a letter of the backdrop's colour, not a handle's
EDGE_AREA = 1_000_000      # pixels on which the soft edge is solved
RADIUS, EPSILON, HAZE = 4, 1e-4, 0.15
"""Of the guided filter (pixels at EDGE_AREA, variance in 0..1), and the share of alpha cut at both ends: noise in the
guide leaves a haze there. The least mean alpha error within 4 px of the outline over the eight opaque samples, 0.068,
among radii 2..4, epsilons 1e-4..1e-3 and hazes 0..0.2 (2026-11-21)."""


def classical_matte(photo: Picture) -> Floats:
    """The alpha (height, width), float32 in 0..1, of the one product in an RGB studio photo.

    All zero where nothing stands out from the backdrop. Deterministic, whatever the number of threads.
    """
    height, width = photo.shape[:2]
    small = shrunk(photo, WORKING_AREA)
    trimap = _trimap(find_backdrop(small.astype(np.float32) / np.float32(255)))
    if min(np.count_nonzero(trimap == cv2.GC_BGD), np.count_nonzero(trimap == cv2.GC_PR_FGD)) < 16:
        return np.zeros((height, width), dtype=np.float32)
    return _refined(photo, _tidied(_grab_cut(small, trimap)))


def shrunk(picture: NDArray[np.uint8], area: int) -> NDArray[np.uint8]:
    """The picture scaled down, averaging, to about `area` pixels; itself when it has no more."""
    height, width = picture.shape[:2]
    scale = (area / (height * width)) ** 0.5
    if scale >= 1:
        return picture
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))


def _trimap(backdrop: Backdrop) -> NDArray[np.uint8]:
    """Where GrabCut starts: the flood is backdrop, what looks like backdrop beside it probably shadow, else product."""
    shorter = min(backdrop.reachable.shape)
    reachable = backdrop.reachable.astype(np.uint8)
    beside = cv2.dilate(reachable, np.ones((2 * round(REACH * shorter) + 1,) * 2, np.uint8)) > 0
    trimap = np.full(reachable.shape, cv2.GC_PR_FGD, dtype=np.uint8)
    trimap[backdrop.reachable | (backdrop.like & beside)] = cv2.GC_PR_BGD
    trimap[cv2.erode(reachable, np.ones((7, 7), np.uint8)) > 0] = cv2.GC_BGD
    return trimap


def _grab_cut(photo: Picture, trimap: NDArray[np.uint8]) -> Mask:
    """Where the product is, after ROUNDS of GrabCut (Rother, Kolmogorov and Blake, 2004) from the trimap."""
    labels = trimap.copy()
    cv2.setRNGSeed(0)      # it seeds its colour mixtures by k-means
    cv2.grabCut(photo, labels, None, np.zeros((1, 65)), np.zeros((1, 65)), ROUNDS, cv2.GC_INIT_WITH_MASK)
    return np.asarray((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD))


def _tidied(mask: Mask) -> Mask:
    """The mask without specks, and with every hole filled that is too narrow to look through."""
    kept = large_parts(mask, LEAST_PART)
    empty = (~kept).astype(np.uint8)
    _, holes = cv2.connectedComponents(empty, connectivity=4)
    wide = cv2.erode(empty, np.ones((max(2, round(LEAST_HOLE * min(mask.shape))),) * 2, np.uint8)) > 0
    return ~np.isin(holes, np.unique(holes[wide]))


def large_parts(mask: Mask, least: float) -> Mask:
    """The connected parts of at least `least` times the largest one's area; an empty mask stays empty."""
    _, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    if not len(areas):
        return np.zeros_like(mask)
    return np.isin(parts, 1 + np.flatnonzero(areas >= least * areas.max()))


def _refined(photo: Picture, mask: Mask) -> Floats:
    """The mask at the photo's size with the photo's own soft edge, 0 or 1 farther than 2 * RADIUS from its outline."""
    guide = shrunk(photo, EDGE_AREA).astype(np.float32) / np.float32(255)
    coarse = cv2.resize(mask.astype(np.float32), (guide.shape[1], guide.shape[0]), interpolation=cv2.INTER_LINEAR)
    target = (coarse > 0.5).astype(np.float32)
    alpha = guided_filter(target, guide, photo.astype(np.float32) / np.float32(255), radius=RADIUS, epsilon=EPSILON)
    alpha = (alpha - HAZE) / (1 - 2 * HAZE)
    window = np.ones((4 * RADIUS + 1,) * 2, np.uint8)
    size = (photo.shape[1], photo.shape[0])
    inner = cv2.resize(cv2.erode(target, window, borderValue=1), size, interpolation=cv2.INTER_NEAREST)
    outer = cv2.resize(cv2.dilate(target, window), size, interpolation=cv2.INTER_NEAREST)
    return np.clip(alpha, inner, outer)
