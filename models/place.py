"""The pass `place`: the cut-out product onto the canvas of the new picture, resampled exactly once."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from models.errors import InputError
from models.matte import LEAST_PART, large_parts
from models.params import PlaceParams
from models.passes import PassContext
from models.pictures import Floats, Picture, Size, alpha_of, rgb_of, size_of

LANCZOS_SUPPORT = 3        # source pixels at scale 1 and above; divided by the scale below it


class Box(NamedTuple):
    """Edges, not pixel indices: the box of pixel 0 alone is 0..1."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top


def place(params: PlaceParams, context: PassContext, *, product: Picture) -> Picture:
    """The product (RGBA, any size) on a transparent RGBA canvas of exactly params.height x params.width.

    Its box is that of alpha > 0.5 in its large parts. It grows or shrinks, keeping its shape, until the box with its
    padding fits; whatever is softer or smaller than the box is carried along and cut at the canvas. Straight alpha;
    colours under alpha 0 are black. Raises InputError (field `image`) when nothing of the product is opaque.
    """
    canvas = Size(params.height, params.width)
    box = product_box(product)
    scale, left, top = _layout(box, size_of(product), canvas, params)
    return _resampled(product, scale, left - scale * box.left, top - scale * box.top, canvas)


def product_box(product: Picture) -> Box:
    """The bounding box of the product's large opaque parts, in pixels of the picture."""
    solid = large_parts(alpha_of(product)[:, :, 0] > 0.5, LEAST_PART)
    left, top, width, height = cv2.boundingRect(solid.astype(np.uint8))
    if not width:
        raise InputError("there is nothing opaque to place", field="image",
                         value=f"cut-out of {solid.shape[1]} x {solid.shape[0]} px",
                         remedy="Use a photo on which the product stands out, or one with the product in its alpha")
    return Box(left, top, left + width, top + height)


def _layout(box: Box, source: Size, canvas: Size, params: PlaceParams) -> tuple[float, float, float]:
    """The scale, and where on the canvas the box's left and top edges come to lie.

    spec/omni-bg.md 1.5 S2: the padding is a share of the object's width on every side, above and below too. Not
    centred, the box's centre keeps its relative place in the source frame as far as its padding allows.
    """
    padding = params.object_padding * box.width
    scale = min(canvas.width / (box.width + 2 * padding), canvas.height / (box.height + 2 * padding))
    left = (canvas.width - scale * box.width) / 2
    top = (canvas.height - scale * box.height) / 2
    if not params.force_center:
        freedom_x, freedom_y = left - scale * padding, top - scale * padding
        across = (box.left + box.right) / 2 / source.width - 0.5
        down = (box.top + box.bottom) / 2 / source.height - 0.5
        left += min(max(across * canvas.width, -freedom_x), freedom_x)
        top += min(max(down * canvas.height, -freedom_y), freedom_y)
    return scale, left, top


def _resampled(product: Picture, scale: float, shift_x: float, shift_y: float, canvas: Size) -> Picture:
    """The product scaled, moved by the shift (canvas pixels, fractions count) and cut at the canvas.

    Premultiplied, in float, by Pillow, whose filters cover the whole footprint when they shrink (OpenCV's do not, and
    alias fine print). Only the part with any alpha is touched: a giant photo of a small product costs little.
    """
    left, top, width, height = cv2.boundingRect((product[:, :, 3] > 0).astype(np.uint8))
    first_x, last_x = _pixels(left, width, scale, shift_x, canvas.width)
    first_y, last_y = _pixels(top, height, scale, shift_y, canvas.height)

    # A transparent margin as wide as the filter reaches: without it Pillow renormalises its weights at the crop's edge.
    margin = int(np.ceil((LANCZOS_SUPPORT + 1) * max(1, 1 / scale)))
    crop = product[top:top + height, left:left + width]
    alpha = alpha_of(crop)
    premultiplied = cv2.copyMakeBorder(np.dstack([rgb_of(crop) * alpha, alpha]), margin, margin, margin, margin,
                                       cv2.BORDER_CONSTANT, value=0)
    window = Box(*((edge - shift) / scale - origin + margin for edge, shift, origin in (
        (first_x, shift_x, left), (first_y, shift_y, top), (last_x, shift_x, left), (last_y, shift_y, top))))
    size = Size(last_y - first_y, last_x - first_x)
    placed = np.zeros((*canvas, 4), dtype=np.uint8)
    placed[first_y:last_y, first_x:last_x] = _straight(
        sharp=_resized(premultiplied, window, size, Image.Resampling.LANCZOS),
        smooth=_resized(premultiplied, window, size, Image.Resampling.HAMMING))
    return placed


def _pixels(start: int, length: int, scale: float, shift: float, limit: int) -> tuple[int, int]:
    """The canvas pixels, first and one past the last, that source pixels start..start + length come to touch."""
    first, last = np.floor(start * scale + shift), np.ceil((start + length) * scale + shift)
    return int(np.clip(first, 0, limit)), int(np.clip(last, 0, limit))


def _resized(channels: Floats, window: Box, size: Size, kernel: Image.Resampling) -> Floats:
    """Each channel of (h, w, c) resampled: the window (edges, fractions count) becomes a picture of `size`."""
    return np.dstack([
        np.asarray(Image.fromarray(np.ascontiguousarray(channels[:, :, index])).resize(
            (size.width, size.height), kernel, box=(window.left, window.top, window.right, window.bottom)))
        for index in range(channels.shape[2])])


def _straight(sharp: Floats, smooth: Floats) -> Picture:
    """8-bit straight RGBA from two premultiplied resamplings (colours 0..255, alpha 0..1).

    Colours are the sharp kernel's, but for the fringe where dividing by its alpha means nothing. Alpha is the smooth
    one's: Lanczos rings at a hard outline (enlarged 5 times: holes of 3 % inside, ghosts of 3 % outside, 2026-11-21);
    a kernel without negative lobes cannot.
    """
    alpha = smooth[:, :, 3:]
    chosen = np.where(sharp[:, :, 3:] > 0.5, sharp, smooth)
    colours = np.where(alpha >= 0.5 / 255, chosen[:, :, :3] / np.maximum(chosen[:, :, 3:], 1e-6), 0)
    return np.asarray(np.rint(np.clip(np.dstack([colours, alpha * 255]), 0, 255)), dtype=np.uint8)
