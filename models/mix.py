"""The pass `mix`: the light of the relit picture on the product's own pixels, and its contact shadow on the scene's."""

from __future__ import annotations

import numpy as np

from models.contact import contact_shadow
from models.gain import product_gain, to_encoded, to_linear
from models.params import MixParams
from models.passes import PassContext
from models.pictures import Floats, Picture, alpha_of, rgb_of


def mix(params: MixParams, context: PassContext, *, placed: Picture, scene: Picture, relit: Picture) -> Picture:
    """RGB: `scene` with its product relit.

    placed: the product, RGBA; scene: RGB, with placed pasted on by `models.pictures.over`; relit: RGB, the scene as
    relit. All of one size. The product's pixels are placed's own times a smooth gain, to the power of
    params.light_mix_scale: print and texture are never the relit picture's. Outside the product's alpha the scene's
    pixels are dimmed by the relit picture's contact shadow, to the same power, in a soft band around the product's
    foot; elsewhere the scene's bytes come back, with light_mix_scale 0 everywhere.
    """
    if params.light_mix_scale == 0:
        return scene
    alpha, own = alpha_of(placed), rgb_of(placed)
    unlit, after = to_linear(scene), to_linear(relit)
    gain = product_gain(alpha, own, unlit, after, params.light_mix_scale)
    lit = np.minimum(to_encoded(to_linear(own) * gain), 255)  # before alpha: no soft pixel is more than white
    # In sRGB, as `over` pasted it: what of a soft pixel is not the product's stays there. Pasting the lit product over
    # the scene instead would lay two products on the edge, the unlit one as a rim.
    rest = np.clip(scene - alpha * own, 0, 255 * (1 - alpha))
    rest = _dimmed(rest, 1 - alpha, contact_shadow(alpha, unlit, after) ** params.light_mix_scale)
    return np.asarray(np.rint(np.minimum(alpha * lit + rest, 255)), dtype=np.uint8)


def _dimmed(rest: Floats, share: Floats, factor: Floats) -> Floats:
    """`rest`, the background's sRGB codes times its share of each pixel, under `factor` times the light."""
    # Rounded to a byte, which costs half a code at most, and nothing where the whole pixel is background.
    behind = to_linear(np.rint(rest / np.maximum(share, 1 / 255)).astype(np.uint8))
    return np.asarray(rest + share * (to_encoded(behind * factor) - to_encoded(behind)), dtype=np.float32)
