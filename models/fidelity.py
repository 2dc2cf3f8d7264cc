"""How true a finished picture is to its placed product: measures without weights, which abstain where they are blind.

Each looks for one fault that users report and scores of the whole picture dilute (spec/peers-lineage-quality.md 5.2,
5.4): a garbled word, blown highlights, a product that goes on into its background. Limits belong to whoever asks.
Figures: the six samples of examples/ at 1024 x 768 px, on a plain and a textured background (2026-11-21).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from models.gain import WHITE, to_linear
from models.pictures import Floats, Picture, rgb_of, size_of

Mask = NDArray[np.bool_]

VERSION = 2
"""Of all measures; to be raised whenever a value may move."""

TILE, STRIDE = 32, 16      # pixels; half a tile on, so that what one has at its edge another has in its middle
OPAQUE = 250               # alpha: at most a fiftieth of such a pixel is background; some files hold no 255
TEXTURED = 8.0             # standard deviation, in codes, of a tile that has something to compare (spec 5.2)
WORKING_AREA = 800_000     # pixels on which the outline is followed; patches of a larger picture show no more

START, PATCH, FAR, REACH = 0.004, 0.010, 0.10, 0.06
"""Shares of the product's size, which is the square root of its area: from alpha 0 to the near ring, the near ring's
width, the far ring's distance, and how wide a soft edge may be."""

ALIKE, UNLIKE = 10.0, 15.0
"""CIE76 differences: the same material on both sides of an outline stays below the first, shading included; a
background nearer than the second to the product's colour tells nothing. Intact samples expand by 0.00, grown
by 30 px by 0.87 to 0.99 (opaque ones)."""

DEEPEST_SHADOW = 1 / 8     # of the light, three stops: what is darker beside a product is no shadow on its background


@dataclass(frozen=True, kw_only=True)
class Measure:
    """value: None where it abstains; said: what was measured, or why it abstains."""

    name: str
    value: float | None
    said: str


class Outline(NamedTuple):
    """Points on the product's outline; whether each can tell what is product, and whether the product goes on there."""

    points: NDArray[np.int64]  # (count, 2): row and column, in pixels of the working picture
    seeing: Mask
    expanded: Mask             # implies seeing


def measures(placed: Picture, picture: Picture) -> tuple[Measure, ...]:
    """min_tile_ncc, clipped_share, expansion, in this order; all abstain where there is no product.

    placed: RGBA, the product on its canvas; picture: RGB, the finished picture, as large or an exact multiple, which is
    averaged down first. Raises ValueError for other shapes.

    min_tile_ncc, -1..1, intact 1 but for rounding: the least normalised cross-correlation of sRGB-encoded luma (ITU-R
    BT.709) with the product's own over all opaque, textured tiles, of which the outer ones end where the core does. Low
    where one word is garbled, blurred, or moved by a pixel.
    clipped_share, 0..1, intact 0: product pixels (alpha over a half) with a channel at full scale that was below it.
    expansion, 0..1, intact 0: the share of the outline beyond which the product goes on, of the part that can tell.
    """
    picture = _reduced(picture, placed)
    if placed[:, :, 3].max() <= 127:
        return tuple(Measure(name=name, value=None, said="there is no product")
                     for name in ("min_tile_ncc", "clipped_share", "expansion"))
    return _min_tile_ncc(placed, picture), _clipped_share(placed, picture), _expansion(placed, picture)


def _reduced(picture: Picture, placed: Picture) -> Picture:
    wanted = size_of(placed)
    factor = max(1, picture.shape[0] // wanted.height)
    if (picture.shape, placed.shape[2]) != ((wanted.height * factor, wanted.width * factor, 3), 4):
        raise ValueError(f"an RGB picture of {wanted.width} x {wanted.height} px or an exact multiple is needed for "
                         f"this RGBA product, not shape {picture.shape} for {placed.shape}")
    return np.asarray(cv2.resize(picture, (wanted.width, wanted.height), interpolation=cv2.INTER_AREA))


def _product_box(placed: Picture, margin: int = 0) -> tuple[slice, slice]:
    left, top, width, height = cv2.boundingRect((placed[:, :, 3] > 127).astype(np.uint8))
    return np.s_[max(0, top - margin):top + height + margin, max(0, left - margin):left + width + margin]


def _min_tile_ncc(placed: Picture, picture: Picture) -> Measure:
    # Less a pixel: an enlarged and reduced picture carries the background that far into the product.
    core = cv2.erode((placed[:, :, 3] >= OPAQUE).astype(np.uint8), np.ones((3, 3), np.uint8))
    left, top, width, height = cv2.boundingRect(core)
    box = np.s_[top:top + height, left:left + width]
    found = list(_tile_nccs(_luma(placed[box]), _luma(picture[box]), core[box] > 0))
    compared = [one for one in found if one is not None]
    if not compared:
        nothing = f"no tile of {TILE} px is opaque" if not found else "nothing textured to compare"
        return Measure(name="min_tile_ncc", value=None, said=nothing)
    least, x, y = min(compared)
    return Measure(name="min_tile_ncc", value=least, said=f"least at x {left + x}, y {top + y} of {len(compared)} "
                                                          f"tiles of {TILE} px")


def _tile_nccs(own: Floats, other: Floats, core: Mask) -> Iterator[tuple[float, int, int] | None]:
    """(correlation, x, y) of each tile of the core, None for one without texture.

    The plane that fits best is taken out of both first, since that is what light makes of a tile: with it, a ramp of
    -0.75 to +0.75 stop leaves 0.88 in a faintly textured tile of the bottle, without it 0.997 (256 px).
    """
    planes = _planes()
    for y in _starts(own.shape[0]):
        rows = slice(y, y + TILE)
        inside = np.asarray(core[rows].all(axis=0))
        at = [first + x for first, last in _runs(inside) for x in _starts(last - first)]
        ours, theirs = (tiles - tiles @ planes.T @ planes
                        for tiles in (_tiles(luma[rows], at) for luma in (own, other)))
        power = (ours**2).sum(axis=1)
        # At least 1: a tile that came out flat correlates with nothing, not with its rounding errors.
        norms = np.sqrt(np.maximum(power * (theirs**2).sum(axis=1), 1))
        correlations = np.clip((ours * theirs).sum(axis=1) / norms, -1, 1)
        for x, textured, correlation in zip(at, power > TEXTURED**2 * TILE**2, correlations, strict=True):
            yield (float(correlation), x, y) if textured else None


def _starts(length: int) -> list[int]:
    """Where tiles begin along so many pixels: a STRIDE apart, and one that ends where they end."""
    return sorted({*range(0, length - TILE + 1, STRIDE), length - TILE}) if length >= TILE else []


def _runs(inside: Mask) -> NDArray[np.int64]:
    """(count, 2): first, and one past the last, of each run of pixels inside."""
    return np.flatnonzero(np.diff(inside, prepend=False, append=False)).reshape(-1, 2)


def _tiles(strip: Floats, at: Sequence[int]) -> Floats:
    """The tiles of a strip (TILE, width) that begin at these columns, as rows (count, TILE * TILE)."""
    if not at:
        return np.empty((0, TILE * TILE), dtype=np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(strip, TILE, axis=1)[:, list(at)]
    return np.asarray(windows.transpose(1, 0, 2).reshape(-1, TILE * TILE))


def _planes() -> Floats:
    """(3, TILE * TILE), orthonormal: constant, down, across."""
    level, slope = np.ones(TILE), np.arange(TILE) - (TILE - 1) / 2
    planes = np.stack([np.outer(*pair).ravel() for pair in ((level, level), (slope, level), (level, slope))])
    return np.asarray(planes / np.linalg.norm(planes, axis=1, keepdims=True), dtype=np.float32)


def _luma(picture: Picture) -> Floats:
    return np.asarray(rgb_of(picture) @ np.array([0.2126, 0.7152, 0.0722], dtype=np.float32))


def _clipped_share(placed: Picture, picture: Picture) -> Measure:
    box = _product_box(placed)
    own, product = rgb_of(placed[box]), placed[box][:, :, 3] > 127
    clipped = product & ((picture[box] == 255) & (own < 255)).any(axis=2) & (own.min(axis=2) < WHITE)
    lost, total = int(np.count_nonzero(clipped)), int(np.count_nonzero(product))
    return Measure(name="clipped_share", value=lost / total, said=f"{lost} of the product's {total} pixels")


def _expansion(placed: Picture, picture: Picture) -> Measure:
    found = outline(placed, picture)
    total, seeing, expanded = len(found.points), int(found.seeing.sum()), int(found.expanded.sum())
    if not total:
        return Measure(name="expansion", value=None, said="no outline of anything opaque")
    if 2 * seeing < total:
        return Measure(name="expansion", value=None,
                       said=f"product and background cannot be told apart at {total - seeing} of {total} points")
    return Measure(name="expansion", value=expanded / seeing,
                   said=f"the product goes on at {expanded} of {seeing} points; {total - seeing} more cannot tell")


def outline(placed: Picture, picture: Picture) -> Outline:
    """Where the product goes on beyond its matte, point by point; placed and picture of one size.

    The colour just inside is compared with a near and a far ring's: CIE76 in CIELAB (D65) of means in linear light.
    A point is blind where inside and far ring look alike, at the frame, without opaque product in reach (glass), and
    where the near ring is the product's colour but as well a shadow on the background. Growth beyond FAR is blind too.
    """
    alpha, light, size = _working(placed, picture)
    start, patch, far = max(2.0, START * size), max(3.0, PATCH * size), max(12.0, FAR * size)
    points, outward, to_core = _edge(alpha, patch, reach := max(3.0, REACH * size))
    inner, inner_known = _colours(light, alpha == 255, points - (to_core + 1 + patch / 2) * outward, patch)
    near, near_known = _colours(light, alpha == 0, points + (start + patch / 2) * outward, patch / 2)
    beyond, beyond_known = _colours(light, alpha == 0, points + far * outward, patch)
    at_frame = ((points == 0) | (points == np.array(alpha.shape) - 1)).any(axis=1)
    contrast, step = _difference(inner, beyond), _difference(inner, near)
    goes_on = (step < ALIKE) & (step < contrast / 2)
    seeing = inner_known & near_known & beyond_known & (to_core[:, 0] <= reach) & ~at_frame & (contrast > UNLIKE)
    seeing &= ~(goes_on & _shadow(near, beyond))
    return Outline(points, seeing, seeing & goes_on)


def _working(placed: Picture, picture: Picture) -> tuple[Picture, Floats, float]:
    """Alpha and linear light around the product, averaged down to WORKING_AREA, and the product's size therein."""
    size = sqrt(np.count_nonzero(placed[:, :, 3] > 127))
    box = _product_box(placed, margin=round(16 + (FAR + PATCH) * size))
    alpha, cut = placed[box][:, :, 3], picture[box]
    scale = min(1.0, sqrt(WORKING_AREA / alpha.size))
    wanted = (max(1, round(alpha.shape[1] * scale)), max(1, round(alpha.shape[0] * scale)))
    alpha, cut = (cv2.resize(one, wanted, interpolation=cv2.INTER_AREA) for one in (alpha, cut))
    return alpha, to_linear(cut), size * scale


def _edge(alpha: Picture, smooth: float, reach: float) -> tuple[NDArray[np.int64], Floats, Floats]:
    """The outermost pixels with any alpha; the way out of each, of length 1; how far the opaque product is.

    Contours wholly out of its reach are left out: specks of haze in the matte.
    """
    to_core = cv2.distanceTransform((alpha < 255).astype(np.uint8), cv2.DIST_L2, 5)
    found, _ = cv2.findContours((alpha > 0).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    contours = [one[:, 0, ::-1].astype(np.int64) for one in found]
    points = np.concatenate([np.empty((0, 2), np.int64), *(one for one in contours if to_core[*one.T].min() <= reach)])
    soft = cv2.GaussianBlur(alpha.astype(np.float32), (0, 0), smooth)
    inward = np.stack([cv2.Sobel(soft, cv2.CV_32F, dx, dy)[*points.T] for dx, dy in ((0, 1), (1, 0))], axis=1)
    length = np.maximum(np.linalg.norm(inward, axis=1, keepdims=True), 1e-6)
    return points, -inward / length, to_core[*points.T][:, None]


def _colours(light: Floats, where: Mask, at: Floats, radius: float) -> tuple[Floats, Mask]:
    """Mean linear RGB (count, 3) of the square around each point, as far as it lies `where`; is a quarter of it so?"""
    side = (2 * round(radius) + 1,) * 2
    weight = where.astype(np.float32)
    total, share = (cv2.blur(field, side, borderType=cv2.BORDER_CONSTANT)
                    for field in (light * weight[:, :, None], weight))
    index = np.rint(at).astype(np.int64)
    within = ((index >= 0) & (index < where.shape)).all(axis=1)
    found = tuple(np.clip(index, 0, np.array(where.shape) - 1).T)
    return total[found] / np.maximum(share[found], 1e-6)[:, None], within & (share[found] > 0.25)


def _difference(one: Floats, other: Floats) -> Floats:
    """CIE76 between rows of linear RGB."""
    lab, other_lab = (cv2.cvtColor(rows[:, None], cv2.COLOR_LRGB2Lab)[:, 0] if len(rows) else rows
                      for rows in (one, other))
    return np.asarray(np.linalg.norm(lab - other_lab, axis=1))


def _shadow(near: Floats, beyond: Floats) -> Mask:
    """Could `near` be `beyond` in a shadow: the same colour under less light?"""
    share = near.sum(axis=1, keepdims=True) / np.maximum(beyond.sum(axis=1, keepdims=True), 1e-6)
    dimmed = (share[:, 0] > DEEPEST_SHADOW) & (share[:, 0] < 1)
    return np.asarray(dimmed & (_difference(beyond * share, near) < ALIKE))
