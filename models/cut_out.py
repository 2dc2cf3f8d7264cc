"""The pass `cut_out`: a product photo in, the product alone out."""

from __future__ import annotations

import numpy as np

from models.errors import InputError
from models.foreground import foreground_colours
from models.matte import classical_matte
from models.params import CutOutParams
from models.passes import PassContext
from models.pictures import Floats, Picture, alpha_of, rgb_of

SMALLEST_PRODUCT = 1e-3    # of the photo's area: below it a matte is dust


def cut_out(params: CutOutParams, context: PassContext, *, photo: Picture) -> Picture:
    """The product as RGBA, at the photo's size and in its place.

    photo: RGB or RGBA. An alpha that says anything (not 255 throughout) is the product's and is used as it is, colours
    included; it may touch every border, as a tight crop does. Else the product is matted and its edge colours freed of
    the backdrop. Pixels of alpha 255 keep the photo's own bytes. Raises InputError (field `image`) when there is no
    product, or where the matte fills the frame.
    """
    if photo.shape[2] == 4 and photo[:, :, 3].min() < 255:
        _require_product(alpha_of(photo)[:, :, 0], "Send the photo without its alpha channel to have it cut out")
        return photo
    colours = rgb_of(photo)
    alpha = classical_matte(colours)
    _require_product(alpha, "Use a photo whose backdrop differs from the product, or one with an alpha channel")
    _require_frame(alpha)
    alpha_bytes = np.rint(alpha * 255).astype(np.uint8)
    return np.dstack([foreground_colours(colours, alpha_bytes.astype(np.float32) / np.float32(255)), alpha_bytes])


def _require_product(alpha: Floats, remedy: str) -> None:
    if np.count_nonzero(alpha > 0.5) < SMALLEST_PRODUCT * alpha.size:
        raise InputError("there is no product in the photo", field="image", value=_described(alpha), remedy=remedy)


def _require_frame(alpha: Floats) -> None:
    """A product at one border is cropped; at all four, the matte has taken the picture for the product."""
    solid = alpha > 0.5
    if all(side.any() for side in (solid[0], solid[-1], solid[:, 0], solid[:, -1])):
        raise InputError("what stands out touches every border, so it cannot be told from its backdrop", field="image",
                         value=_described(alpha),
                         remedy="Leave some plain backdrop around the product, or send it with an alpha channel")


def _described(alpha: Floats) -> str:
    share = np.count_nonzero(alpha > 0.5) / alpha.size
    return f"photo of {alpha.shape[1]} x {alpha.shape[0]} px, {share:.1%} of it opaque"
