"""The pass `upscale`: the lit picture four times as large, its scene by a network, its product from the photo."""

from __future__ import annotations

from collections.abc import Iterator
from math import lcm, sqrt
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from PIL import Image
from spandrel import ModelTiling

from models.errors import WeightsError
from models.gain import at_risk, highest_gain, product_gain, to_encoded, to_linear
from models.params import UpscaleParams
from models.passes import PassContext
from models.pictures import Floats, Picture, alpha_of, rgb_of
from models.tiles import FEATHER, LARGEST, MARGIN, Tiling, run_tiled

AROUND = 3
"""Pixels around the product's outline, before magnification, that are resampled too: the network does not touch it."""

SEEN = 0.25
"""Share of a pixel from which its background is read off; below, half a code of rounding would become several, and
it is the more taken from around."""

SHARPER = 1.02
"""Pixels of the photo to one of the working picture from which its own are taken; fewer have nothing to add."""

BAND, SUPPORT = 64, 4
"""Rows, before magnification, that are put together at a time, and rows beyond them that resampling looks at."""


class Own(NamedTuple):
    """The product from the photo's own pixels."""

    placed: Picture      # RGBA, of the final picture's size
    gain: Floats         # (height, width, 1), of the working size, for linear light
    highest: np.float32  # more of it would clip the fine detail that the working size averages away

    def lit(self, rows: slice, gain: Floats) -> Floats:
        """sRGB codes of these rows, gain in the final picture's size."""
        return _lit(rgb_of(self.placed[rows]), np.minimum(gain, self.highest))


def upscale(params: UpscaleParams, context: PassContext, *, placed: Picture, lit: Picture, product: Picture,
            placed_large: Picture, scene: Picture | None = None, relit: Picture | None = None) -> Picture:
    """RGB, params.factor times as high and wide as `lit`.

    lit: RGB, the finished picture; placed: RGBA, the product in it; placed_large: RGBA, the same in the result's size,
    placed from `product`, the cut-out, by the same layout. scene, relit: what `mix` made lit from, with
    params.light_mix_scale; not needed where that is 0.

    The product is placed_large's, under the light that `mix` gave it, held back where that would clip detail which only
    this size shows (models.gain.MAX_CLIPPED), which a note says. Where the photo has no more of its pixels than
    the working picture (place enlarged it), it is Lanczos-resampled from lit; a note says which. Never the network's:
    it invents detail, and must not redraw a label. The scene is context.models["upscaler"]'s (a
    spandrel.ImageModelDescriptor), or Lanczos without one, which a note says, and around the product in any case.
    Raises WeightsError for a network of another magnification.
    """
    more = params.factor / _scale(product, placed_large)
    background, own = lit, None
    context.notes.append(_said(more, params.factor))
    if more > SHARPER:
        gain = _gain(params.light_mix_scale, placed, scene, relit)
        own = Own(placed_large, gain, _highest(placed_large, gain, params.factor))
        if own.highest < (most := gain[placed[:, :, 3] > 127].max(initial=1)):
            context.notes.append(f"the product's light is held back by up to {np.log2(most / own.highest):.2f} stops, "
                                 "so that its fine detail does not clip")
        background = _behind(lit, placed, _lit(rgb_of(placed), gain))
    network = context.models.get("upscaler")
    if network is None:
        context.notes.append("no upscaler is installed: the scene is enlarged by Lanczos resampling, no detail added")
        invented = None
    else:
        invented = _by_network(network, background, params.factor, context)
    final = np.empty((lit.shape[0] * params.factor, lit.shape[1] * params.factor, 3), dtype=np.uint8)
    spared = _spared(placed)
    for rows, band in _bands(lit.shape[0], params.factor):
        made = band.enlarged(background, _lanczos)
        if invented is not None:
            share = band.enlarged(spared, _linear)
            # Straight sums of opaque pictures that show the same: no colour needs to be divided by alpha.
            made = share * made + (1 - share) * invented[rows]
        if own is not None:
            alpha = alpha_of(own.placed[rows])
            made = alpha * own.lit(rows, band.enlarged(own.gain, _linear)) + (1 - alpha) * made
        final[rows] = np.rint(np.clip(made, 0, 255))
    return final


def _scale(product: Picture, placed: Picture) -> float:
    """Pixels of `placed` to one of the cut-out's, by their areas: boxes lie where a strap is thinner than a pixel."""
    before, after = (int(one[:, :, 3].sum(dtype=np.int64)) for one in (product, placed))
    return sqrt(after / before)


def _said(more: float, factor: int) -> str:
    if more <= SHARPER:
        return (f"the photo has {more:.2f} of its pixels to each of the working size: the product is enlarged from the "
                "working picture")
    return (f"the photo has {more:.2f} of its pixels to each of the working size, {more / factor:.2f} to each of the "
            "final picture: the product is sharper than the working picture")


def _highest(placed: Picture, gain: Floats, factor: int) -> np.float32:
    """models.gain.highest_gain of the large product."""
    found = np.zeros(256, dtype=np.int64)
    for rows, band in _bands(gain.shape[0], factor):
        part = placed[rows]
        found += at_risk(band.enlarged(gain, _linear), alpha_of(part), rgb_of(part))
    return highest_gain(found, int(np.count_nonzero(placed[:, :, 3] > 127)))


def _gain(scale: float, placed: Picture, scene: Picture | None, relit: Picture | None) -> Floats:
    """The gain that `mix` gave the product: the same function of the same pictures."""
    if scale == 0 or scene is None or relit is None:
        return np.ones((*placed.shape[:2], 1), dtype=np.float32)
    return product_gain(alpha_of(placed), rgb_of(placed), to_linear(scene), to_linear(relit), scale)


def _lit(colours: Picture, gain: Floats) -> Floats:
    """sRGB codes, neither rounded nor above 255, of colours under `gain` times the light."""
    return np.minimum(to_encoded(to_linear(colours) * gain), 255)


def _behind(lit: Picture, placed: Picture, product: Floats) -> Picture:
    """`lit` without its product (as `mix` laid it on, sRGB codes): the background, carried on underneath.

    What would otherwise be enlarged with the picture is the product's edge at the working size: a soft double beside
    its sharp own one. Subtracting both enlarged shares instead leaves weights that do not add up to 1 along the edge,
    a bright line inside and a dark one outside.
    """
    alpha = alpha_of(placed)
    rest = np.clip(lit - alpha * product, 0, 255 * (1 - alpha))
    return np.asarray(np.rint(_filled(rest, 1 - alpha)), dtype=np.uint8)


def _filled(rest: Floats, share: Floats) -> Floats:
    """(height, width, 3): rest / share where there is enough share, elsewhere what lies around, ever coarser."""
    height, width = rest.shape[:2]
    found = rest / np.maximum(share, 1e-3)
    if min(height, width) < 2:
        return np.asarray(found, dtype=np.float32)
    half = ((width + 1) // 2, (height + 1) // 2)
    coarse = _filled(cv2.resize(rest, half, interpolation=cv2.INTER_AREA),
                     cv2.resize(share, half, interpolation=cv2.INTER_AREA)[:, :, None])
    known = np.minimum(share / SEEN, 1)
    around = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(known * found + (1 - known) * around, dtype=np.float32)


def _by_network(network: Any, picture: Picture, factor: int, context: PassContext) -> Floats:
    """float32 (height x factor, width x factor, 3) in 0..255."""
    if (network.scale, network.input_channels, network.output_channels) != (factor, 3, 3):
        raise WeightsError(
            f"it magnifies {network.scale} times, {network.input_channels} channels to {network.output_channels}",
            field="upscaler", value=network.architecture.name,
            remedy=f"Install a network that magnifies RGB {factor} times, RealESRGAN_x4plus for one")

    def call(tiles: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(network(tiles.to(device=network.device, dtype=network.dtype)))

    return run_tiled(call, picture, factor, tiling_of(network), context.called)


def tiling_of(network: Any) -> Tiling:
    """Tiles as a spandrel network wants them: none where it looks at the picture as a whole, or tiles by itself."""
    asks = network.size_requirements
    return Tiling(largest=LARGEST if network.tiling is ModelTiling.SUPPORTED else None, margin=MARGIN, feather=FEATHER,
                  multiple=lcm(16, asks.multiple_of), minimum=asks.minimum, square=asks.square)


def _spared(placed: Picture) -> Floats:
    """(height, width): 1 where the network's picture is not wanted, where alpha is a half or more and AROUND it.

    A faint haze in the matte gets a faint share: it does not take the scene from the network.
    """
    side = 2 * AROUND + 1
    grown = cv2.dilate(alpha_of(placed)[:, :, 0], np.ones((side, side), dtype=np.uint8))
    return np.asarray(np.minimum(2 * grown, 1), dtype=np.float32)


class _Band(NamedTuple):
    """Rows start..stop of a picture to be enlarged, and the rows around that resampling looks at."""

    start: int
    stop: int
    factor: int

    def enlarged(self, field: Any, resize: Any) -> Any:
        """These rows of `resize(field, factor)`, which are the same whatever the band."""
        first = max(0, self.start - SUPPORT)
        larger = resize(field[first:self.stop + SUPPORT], self.factor)
        return larger[(self.start - first) * self.factor:(self.stop - first) * self.factor]


def _bands(height: int, factor: int) -> Iterator[tuple[slice, _Band]]:
    """Rows of the result, and the band they come from: a whole final picture in float32 is 768 MB at 64 megapixels."""
    for start in range(0, height, BAND):
        stop = min(start + BAND, height)
        yield slice(start * factor, stop * factor), _Band(start, stop, factor)


def _lanczos(picture: Picture, factor: int) -> Picture:
    height, width = picture.shape[:2]
    return np.asarray(Image.fromarray(picture).resize((width * factor, height * factor), Image.Resampling.LANCZOS))


def _linear(field: Floats, factor: int) -> Floats:
    """(height x factor, width x factor, 1)."""
    return np.asarray(cv2.resize(field, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR))[:, :, None]
