"""The pass `cut_out`: a product photo in, the product alone out."""

from __future__ import annotations

import numpy as np

from models.errors import InputError, WeightsError
from models.foreground import foreground_colours
from models.matte import classical_matte
from models.params import CutOutParams
from models.passes import PassContext
from models.pictures import Floats, Picture, alpha_of, rgb_of

SMALLEST_PRODUCT = 1e-3    # of the photo's area: below it a matte is dust


def cut_out(params: CutOutParams, context: PassContext, *, photo: Picture, mask: Picture | None = None) -> Picture:
    """The product as RGBA, at the photo's size and in its place.

    photo: RGB or RGBA. mask: RGB of the photo's size, each channel the alpha that a person gave; it counts before all
    else, a product that fills the frame included. Without it an alpha of the photo's own that says anything (not 255
    throughout) is the product's and is used as it is, colours included; it may touch every border, as a tight crop
    does. Else the product is matted, by `params.backend`. What was masked or matted has its edge colours freed of the
    backdrop; pixels of alpha 255 keep the photo's own bytes. Raises InputError (field `image` or `mask`) when there is
    no product, or where a matte fills the frame; WeightsError where a neural matte is asked for without its weights.
    """
    if mask is not None:
        return _by_mask(photo, mask)
    if photo.shape[2] == 4 and photo[:, :, 3].min() < 255:
        _require_product(alpha_of(photo)[:, :, 0], "Send the photo without its alpha channel to have it cut out")
        return photo
    colours = rgb_of(photo)
    alpha = _matte(params, context, colours)
    _require_product(alpha, "Use a photo whose backdrop differs from the product, or one with an alpha channel")
    _require_frame(alpha)
    return _freed(colours, np.rint(alpha * 255).astype(np.uint8))


def _by_mask(photo: Picture, mask: Picture) -> Picture:
    if mask.shape[:2] != photo.shape[:2]:
        raise InputError("it is not of the photo's size", field="mask", value=f"{mask.shape[1]} x {mask.shape[0]} px",
                         remedy=f"The photo has {photo.shape[1]} x {photo.shape[0]} px: set a mask of that size")
    alpha = np.ascontiguousarray(mask[:, :, 0])
    _require_product(alpha.astype(np.float32) / np.float32(255), "Paint the product white in the mask", field="mask")
    return _freed(rgb_of(photo), alpha)


def _matte(params: CutOutParams, context: PassContext, colours: Picture) -> Floats:
    if params.backend == "classical":
        return classical_matte(colours)
    from models.neural_matte import neural_matte  # late: the classical way needs none of it

    if "matting" not in context.models:
        raise WeightsError("its matting weights are not here", field="backend", value=params.backend,
                           remedy="Fetch and pin them (backlot weights list), or set BACKLOT_MATTING=classical")
    weights = context.models["matting"]
    alpha = neural_matte(colours, weights)
    context.called(1)
    if weights.note:
        context.notes.append(weights.note)
    return alpha


def _freed(colours: Picture, alpha: Picture) -> Picture:
    """alpha: uint8 (height, width)."""
    return np.dstack([foreground_colours(colours, alpha.astype(np.float32) / np.float32(255)), alpha])


def _require_product(alpha: Floats, remedy: str, *, field: str = "image") -> None:
    if np.count_nonzero(alpha > 0.5) < SMALLEST_PRODUCT * alpha.size:
        raise InputError(f"there is no product in the {'mask' if field == 'mask' else 'photo'}", field=field,
                         value=_described(alpha), remedy=remedy)


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
