"""The pass `mix`: the light of the relit picture on the product's own pixels."""

from __future__ import annotations

import numpy as np

from models.gain import light_gain, to_encoded, to_linear, within_headroom
from models.params import MixParams
from models.passes import PassContext
from models.pictures import Picture, alpha_of, rgb_of


def mix(params: MixParams, context: PassContext, *, placed: Picture, scene: Picture, relit: Picture) -> Picture:
    """RGB: `scene` with its product relit.

    placed: the product, RGBA; scene: RGB, with placed pasted on by `models.pictures.over`; relit: RGB, the scene as
    relit. All of one size. The product's pixels are placed's own times a smooth gain, to the power of
    params.light_mix_scale: print and texture are never the relit picture's. Outside the product's alpha the scene's
    bytes come back; with light_mix_scale 0, everywhere.
    """
    if params.light_mix_scale == 0:
        return scene
    alpha, own = alpha_of(placed), to_linear(rgb_of(placed))
    gain = light_gain(alpha, to_linear(scene), to_linear(relit)) ** params.light_mix_scale
    lit = to_encoded(own * within_headroom(gain, alpha, own))
    # In sRGB, as `over` pasted it: what of a soft pixel is not the product's stays as it is. Pasting the lit product
    # over the scene instead would lay two products on the edge, the unlit one as a rim.
    rest = np.clip(scene - alpha * rgb_of(placed), 0, 255 * (1 - alpha))
    return np.asarray(np.rint(np.minimum(alpha * lit + rest, 255)), dtype=np.uint8)
