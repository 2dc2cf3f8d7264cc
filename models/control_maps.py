"""The passes `outpaint`, `lines` and `depth`: what the ControlNets of `sdxl` are shown, at exactly the working size."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from models import line_detectors
from models.components import DepthComponents
from models.params import DepthParams, LinesParams, OutpaintParams
from models.passes import PassContext
from models.pictures import Floats, Picture, Size, alpha_of, flat, over, rgb_of, size_of

HOLES = {"white": 255, "black": 0}

BLUR = 1.0
"""Sigma in pixels, against sensor noise and JPEG blocks; small print at 512 px is still told apart (2026-11-21)."""

NOISE_FACTOR = 4.0
"""Upper threshold over the median gradient. Noise has Rayleigh-distributed gradients, of which exp(-11) = 1.5e-5 lie
above 4 medians; print and edges are too few to move a median. The usual rule, 1.33 x median luminance, lost seams and
shines on most of the nine samples, and asks most of the lightest products (looked at, 2026-11-21)."""

LEAST_GRADIENT = 40.0
"""Floor of the upper threshold, in units of a 3 x 3 Sobel: it keeps a sharp step of 16 of 255 levels, not of 15
(measured 2026-11-21)."""

HYSTERESIS = 0.4
"""Lower threshold over upper; Canny (1986) recommends between 1/3 and 1/2."""

INNER_MARGIN = 2
"""Pixels inside the matte without inner lines: there the old backdrop shows through and would double the contour."""

LEAST_SPREAD = 1e-3
"""Depth whose robust range is a smaller share of its size is flat: stretching it would show the network's noise."""


def outpaint(params: OutpaintParams, context: PassContext, *, placed: Picture) -> Picture:
    """The product (RGBA) over the colour that the outpaint net reads as "invent here". RGB of placed's size.

    White for inpaint-dreamer nets, black for Union's repaint slot (spec/omni-bg.md 1.4 and 4).
    """
    return over(placed, flat(size_of(placed), HOLES[params.hole]))


def lines(params: LinesParams, context: PassContext, *, placed: Picture) -> Picture:
    """White lines on black: the product's (RGBA) own, and its outer contour one pixel wide. RGB of placed's size.

    Nothing outside the product, so that the scene stays free; the contour, so that the product is not made to grow
    (spec/omni-bg.md 5.4). All black where nothing is opaque. The detector `canny` draws lines one pixel wide too; the
    others see the product's core with its border's colours continued all around, so that no ground makes a line.
    """
    inside = np.asarray(alpha_of(placed)[:, :, 0] > 0.5, dtype=np.uint8)
    core = cv2.erode(inside, np.ones((2 * INNER_MARGIN + 1,) * 2, np.uint8), borderValue=0) > 0
    drawn = np.zeros(size_of(placed), np.uint8)
    if core.any():
        drawn[core] = _found(params, context, placed, core)[core]
    contours, _ = cv2.findContours(inside, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)  # CCOMP: a handle's hole has one too
    cv2.drawContours(drawn, contours, -1, 255, 1)
    return np.dstack([drawn] * 3)


def depth(params: DepthParams, context: PassContext, *, placed: Picture | None = None,
          scene: Picture | None = None) -> Picture:
    """Relative inverse depth, near white and far black, as RGB of the given picture's size. One model call.

    Exactly one of placed (RGBA) and scene (RGB); else ValueError. The product alone is shown before mid-grey, against
    which neither a white nor a black one vanishes. Stretched between the 2nd and 98th percentile, because a single
    outlier would flatten the rest (spec/omni-bg.md 5.2); a depth without range becomes mid-grey throughout.
    """
    picture = _seen(placed, scene)
    weights: DepthComponents = context.models["depth"]
    with torch.inference_mode():
        pixels = weights.processor(
            images=np.ascontiguousarray(picture), input_data_format="channels_last", return_tensors="pt").pixel_values
        near = weights.model(pixel_values=pixels.to(weights.model.device, weights.model.dtype)).predicted_depth
        context.called(1)
        near = near[0].float().cpu().numpy()
    return _as_picture(_stretched(near), size_of(picture))


def _seen(placed: Picture | None, scene: Picture | None) -> Picture:
    if placed is not None and scene is None:
        return over(placed, flat(size_of(placed), 128))
    if scene is not None and placed is None:
        return rgb_of(scene)
    raise ValueError(f"depth takes exactly one of placed and scene; got {'none' if placed is None else 'both'}")


def _found(params: LinesParams, context: PassContext, placed: Picture, core: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The detector's lines (height, width), of which only those within `core` (not empty) are the product's."""
    if params.detector == "canny":
        return _canny(_smooth_luminance(placed), core)
    network = context.models.get("lines")
    found = line_detectors.BY_NAME[params.detector](_continued(rgb_of(placed), core), network)
    if network is not None:
        context.called(1)
    return found


def _continued(picture: Picture, core: NDArray[np.bool_]) -> Picture:
    """The picture with each pixel outside `core` (not empty) in the colour of the nearest one inside."""
    _, nearest = cv2.distanceTransformWithLabels(
        np.asarray(~core, dtype=np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL)
    colours = np.zeros((int(nearest.max()) + 1, 3), np.uint8)
    colours[nearest[core]] = picture[core]
    return np.asarray(colours[nearest], dtype=np.uint8)


def _smooth_luminance(placed: Picture) -> Floats:
    """Blurred luminance (height, width) in 0..255 of the product alone: each pixel counts by its alpha.

    Weighted, not multiplied: masking with black would put a step, and so a line, all around the product.
    """
    alpha = alpha_of(placed)[:, :, 0]
    luminance = cv2.cvtColor(np.ascontiguousarray(rgb_of(placed)), cv2.COLOR_RGB2GRAY) * alpha
    weight = cv2.GaussianBlur(alpha, (0, 0), BLUR)
    return np.asarray(cv2.GaussianBlur(luminance, (0, 0), BLUR) / np.maximum(weight, 1e-3), dtype=np.float32)


def _canny(luminance: Floats, core: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Canny's edges (0 or 255), its thresholds set by the gradients within `core`."""
    across, down = cv2.Sobel(luminance, cv2.CV_32F, 1, 0), cv2.Sobel(luminance, cv2.CV_32F, 0, 1)
    upper = max(LEAST_GRADIENT, NOISE_FACTOR * float(np.median(np.hypot(across, down)[core])))
    # OpenCV takes gradients as 16-bit integers: eighths keep what the blur smoothed (at most 4 x 255 x 8 = 8160).
    across, down = (np.asarray(np.rint(gradient * 8), dtype=np.int16) for gradient in (across, down))
    return np.asarray(cv2.Canny(across, down, HYSTERESIS * upper * 8, upper * 8, L2gradient=True), dtype=np.uint8)


def _stretched(near: Floats) -> Floats:
    """Percentiles 2 to 98 of `near` to 0..1, what lies beyond clipped; level 128 throughout where there is no range.

    (Not 0.5: halfway between two levels, rounding after the resize would speckle it.)
    """
    low, high = np.percentile(near, (2, 98))
    if high - low <= LEAST_SPREAD * np.abs(near).max():
        return np.full_like(near, 128 / 255)
    return np.asarray(np.clip((near - low) / (high - low), 0, 1), dtype=np.float32)


def _as_picture(grey: Floats, size: Size) -> Picture:
    """(h, w) in 0..1, resized bicubically to RGB of exactly `size`; the ends are clipped, as bicubic overshoots."""
    resized = functional.interpolate(torch.from_numpy(grey)[None, None], size=tuple(size), mode="bicubic")[0, 0]
    return np.dstack([np.asarray((resized.clamp(0, 1) * 255).round().byte())] * 3)
