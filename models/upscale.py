"""The pass `upscale`: the lit picture four times as large, its scene by a network, its product by plain resampling."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

from models.errors import WeightsError
from models.params import UpscaleParams
from models.passes import PassContext
from models.pictures import Floats, Picture, alpha_of

MARGIN = 3
"""Pixels around the product's outline, before magnification, that are resampled too: its soft edge belongs to it."""


def upscale(params: UpscaleParams, context: PassContext, *, placed: Picture, lit: Picture) -> Picture:
    """RGB, params.factor times as high and wide as `lit`.

    lit: RGB, the finished picture; placed: RGBA of the same size, whose alpha says where the product is. The product is
    Lanczos-resampled from lit, because an upscaling network invents detail and must not redraw a label; all else is
    context.models["upscaler"]'s (a spandrel.ImageModelDescriptor), faded into it just outside the product. Without an
    upscaler everything is Lanczos, and a note says so. Raises WeightsError for a network of another magnification.
    """
    resampled = _lanczos(lit, params.factor)
    network = context.models.get("upscaler")
    if network is None:
        context.notes.append("no upscaler is installed: enlarged by Lanczos resampling, which adds no detail")
        return resampled
    invented = _by_network(network, lit, params.factor)
    context.called(1)
    share = _product_share(placed, params.factor)
    # Straight sums of opaque pictures: both show the product over the scene, so no colour needs to be divided by alpha.
    return np.asarray(np.rint(share * resampled + (1 - share) * invented), dtype=np.uint8)


def _lanczos(picture: Picture, factor: int) -> Picture:
    height, width = picture.shape[:2]
    return np.asarray(Image.fromarray(picture).resize((width * factor, height * factor), Image.Resampling.LANCZOS))


def _by_network(network: Any, picture: Picture, factor: int) -> Floats:
    """float32 (height x factor, width x factor, 3) in 0..255, the whole picture at once."""
    if (network.scale, network.input_channels, network.output_channels) != (factor, 3, 3):
        raise WeightsError(
            f"it magnifies {network.scale} times, {network.input_channels} channels to {network.output_channels}",
            field="upscaler", value=network.architecture.name,
            remedy=f"Install a network that magnifies RGB {factor} times, RealESRGAN_x4plus for one")
    with torch.inference_mode():
        given = torch.tensor(picture).permute(2, 0, 1)[None] / 255
        made = network(given.to(device=network.device, dtype=network.dtype))[0].permute(1, 2, 0).float().cpu().numpy()
    if not np.isfinite(made).all():
        raise FloatingPointError(f"the upscaler gave values that are not finite in {network.dtype}")
    return np.asarray(made * 255, dtype=np.float32)


def _product_share(placed: Picture, factor: int) -> Floats:
    """(height x factor, width x factor, 1): 1 where alpha is a half or more and MARGIN pixels around, then fading to 0.

    A faint haze in the matte gets a faint share: it does not take the scene from the network.
    """
    grown = cv2.dilate(alpha_of(placed)[:, :, 0], np.ones((2 * MARGIN + 1, 2 * MARGIN + 1), dtype=np.uint8))
    larger = cv2.resize(np.minimum(2 * grown, 1), None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
    return np.asarray(larger[:, :, None], dtype=np.float32)
