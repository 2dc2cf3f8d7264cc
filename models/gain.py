"""How much brighter each part of a product should be: one smooth field, estimated from a relit picture.

In linear light, float32. The field follows the light and not the relit product's detail: a relit label has been
through a VAE (23 to 25 dB, spec/omni-bg.md 8.1) and is garbled.
"""

from __future__ import annotations

from functools import cache
from math import sqrt

import cv2
import numpy as np
from numpy.typing import NDArray

from models.pictures import Floats, Picture

SIGMA_SHARE = 0.06
"""Standard deviation of the low-pass as a share of the product's size, which is the square root of its area."""

STOPS = 2.0
"""The light may raise or lower the product by so many stops at most: beyond, the two pictures show different things."""

DARK = 0.002
"""Linear light added to both luminances (sRGB code 7): black goods stay black instead of being divided by nothing."""

STRAY = 0.5
"""Stops off the light at which a pixel counts a quarter (Geman and McClure's weight); ROUNDS: how often the light is
estimated anew with such weights. Between 0.25 and 1, and 3 and 6, little changes (examples/, 2026-11-21)."""
ROUNDS = 4

MAX_CLIPPED = 0.005
"""Share of the product's pixels that the gain may drive to full scale: small highlights, which carry no detail."""

WHITE = 254
"""sRGB code at which detail ends: a pixel with all its channels there is white already."""


def to_linear(encoded: Picture) -> Floats:
    """sRGB bytes -> linear light in 0..1 (IEC 61966-2-1)."""
    codes = np.arange(256) / 255
    table = np.where(codes <= 0.04045, codes / 12.92, ((codes + 0.055) / 1.055) ** 2.4)
    return np.asarray(table.astype(np.float32)[encoded])


def to_encoded(linear: Floats) -> Floats:
    """Linear light -> sRGB on the scale of bytes, neither rounded nor clipped. Undoes `to_linear` within 0.001."""
    curved = 1.055 * np.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055
    return np.asarray(255 * np.where(linear <= 0.0031308, 12.92 * linear, curved), dtype=np.float32)


def light_gain(alpha: Floats, unlit: Floats, lit: Floats) -> Floats:
    """How much more light falls on each part of the product in `lit` than in `unlit`.

    alpha: (height, width, 1) in 0..1; unlit, lit: linear RGB (height, width, 3) with the product over the same
    background, so that what shines through its soft edge is in both and cancels. Returns (height, width, 1), in
    2 ** -STOPS..2 ** STOPS; it means nothing where there is no product within reach.

    A ratio of low-passes, then an average of the pixels' own ratios that counts less what strays from it. Where a label
    was redrawn, the ratios are wild letter by letter, and paper beside ink drags a plain low-pass with it: of the
    print's correlation with the product's own it left 0.62 in the worst tile, the average leaves 0.99 (shoe box of
    examples/ at 256 px, its print moved by 9 px, light of -0.75..0.75 stops, 2026-11-21).

    Edge-aware are the matte, which keeps the background's light out, and this average: away from a hard edge of light
    (a shadow across a carton, 0.9 stops) it is 0.01 stops off, where the ratio of low-passes, dragged by the redrawn
    print, is 0.05 to 0.10 off; the edge itself becomes a ramp of about 0.15 of the product's size. Sharper ways were
    measured (bilateral and self-guided filters over a low-pass of 0.02 to 0.03, a smaller SIGMA_SHARE): they halve the
    error around such an edge, but take redrawn parts of 6 % of the picture's side for light. The best of them left 0.82
    in the sneaker's worst tile under a plain ramp, this average 0.99 (512 px, 2026-11-21).

    Luminance only: the lamp's tint is left out, because with it IC-Light shifts the colours of goods (spec 2.12).
    """
    # Cubed, for a half transparent pixel tells less of the product than its share, and something of the floor's shadow.
    stops = light_stops(alpha**3, unlit, lit, SIGMA_SHARE * sqrt(float(alpha.sum())))
    return np.asarray(2 ** np.clip(stops, -STOPS, STOPS), dtype=np.float32)


def product_gain(alpha: Floats, own: Picture, unlit: Floats, lit: Floats, scale: float) -> Floats:
    """The factor of the product's own linear light, (height, width, 1): the light's gain to the power of `scale`.

    alpha, unlit, lit: as for `light_gain`; own: the product's sRGB codes, which decide how much it may take.
    """
    return within_headroom(light_gain(alpha, unlit, lit) ** scale, alpha, own)


def light_stops(weight: Floats, unlit: Floats, lit: Floats, sigma: float) -> Floats:
    """The smooth change of light, in stops, (height, width, 1): seen where there is weight (0..1), and extended around.

    sigma: the low-pass's standard deviation in pixels.
    """
    before, after = _luminance(unlit), _luminance(lit)
    stops = np.log2((after + DARK) / (before + DARK))
    light = np.log2((_average(after, weight, sigma) + DARK) / (_average(before, weight, sigma) + DARK))
    for _ in range(ROUNDS):
        agreeing = np.asarray(weight / (1 + ((stops - light) / STRAY) ** 2) ** 2, dtype=np.float32)
        light = _average(stops, agreeing, sigma)
    return light


def within_headroom(gain: Floats, alpha: Floats, own: Picture) -> Floats:
    """`gain` with one cap, so that it drives at most MAX_CLIPPED of the product's pixels to full scale.

    own: the product's sRGB codes. Gains up to 1 stay as they are. One cap for the whole product, as a photographer
    exposes for the label: a local one shades what the light did not (a dark rim around white labels).
    """
    return np.minimum(gain, highest_gain(at_risk(gain, alpha, own), int(np.count_nonzero(alpha > 0.5))))


def at_risk(gain: Floats, alpha: Floats, own: Picture) -> NDArray[np.int64]:
    """(256,): how many of the product's pixels `gain` drives to full scale, by the code of their brightest channel.

    Pixels of which more than half is product: the edge's soft ones often keep the backdrop's white, and nobody sees
    them clip. A pixel that is white already has nothing to lose; one with a single channel at full scale has its hue.
    """
    codes = own.max(axis=2)
    counted = (alpha[:, :, 0] > 0.5) & (own.min(axis=2) < WHITE) & (_room()[codes] < gain[:, :, 0])
    return np.bincount(codes[counted], minlength=256)


def highest_gain(at_risk: NDArray[np.int64], pixels: int) -> np.float32:
    """The gain, 1 or more, above which more than MAX_CLIPPED of a product of so many pixels would be at full scale."""
    clipped = np.cumsum(at_risk[::-1])[::-1]  # by a gain that drives this code there, and so all above
    too_bright = np.flatnonzero(clipped > int(MAX_CLIPPED * pixels))
    return np.float32(max(1, _room()[too_bright[-1]])) if len(too_bright) else np.float32(np.inf)


@cache
def _room() -> Floats:
    """(256,): the gain that brings each code to WHITE."""
    light = to_linear(np.arange(256, dtype=np.uint8))
    return np.asarray(light[WHITE] / np.maximum(light, 1e-6))


def _average(field: Floats, weight: Floats, sigma: float) -> Floats:
    """The low-pass of `field`, each pixel counting by its weight."""
    return np.asarray(smooth(field * weight, sigma) / np.maximum(smooth(weight, sigma), 1e-12), dtype=np.float32)


def _luminance(linear: Floats) -> Floats:
    """(height, width, 1), ITU-R BT.709."""
    weights = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)
    return np.asarray(np.sum(linear * weights, axis=2, keepdims=True))


def smooth(field: Floats, sigma: float) -> Floats:
    """Three boxes: as smooth as a Gaussian to the eye, at a cost that does not grow with sigma (pixels). 0 outside.

    (height, width, 1). Three boxes of side s have the variance (s² - 1) / 4.
    """
    side = 2 * max(1, round((sqrt(4 * sigma**2 + 1) - 1) / 2)) + 1
    for _ in range(3):
        field = cv2.blur(field, (side, side), borderType=cv2.BORDER_CONSTANT)
    return np.asarray(field[:, :, None])
