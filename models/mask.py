"""A mask that a person painted, made the alpha of its photo."""

from __future__ import annotations

import cv2
import numpy as np

from models.cut_out import SMALLEST_PRODUCT
from models.errors import InputError
from models.photos import DecodedPhoto
from models.pictures import Picture, Size, size_of

ASPECT_SLACK = 0.005
"""Share by which a mask's proportions may miss its photo's and still be the same picture scaled: half a percent covers
rounding to whole pixels from 200 px on."""


def mask_of(decoded: DecodedPhoto, photo: Size, *, name: str) -> tuple[Picture, str]:
    """The mask as it is stored, uint8 RGB of the photo's size with three equal channels, and a note in a clause where
    it was scaled, else an empty text.

    decoded: of a PNG, and not `managed`, so that its numbers are the file's; its alpha counts where it has one, else
    its grey (white is product). photo: the upright photo's size. Raises InputError (field `MASK`, value `name`) for
    another format, a colour picture, other proportions than the photo's, or a mask without a product.
    """
    def refused(message: str, remedy: str) -> InputError:
        return InputError(message, field="MASK", value=name, remedy=remedy)

    if decoded.format != "PNG":
        raise refused(f"is a {decoded.format}, whose losses would fray its edge", "Save it as PNG")
    alpha = _alpha(decoded.picture)
    if alpha is None:
        raise refused("is a colour picture without alpha", "Save the mask as grey, white where the product is")
    size = size_of(decoded.picture)
    note = ""
    if size != photo:
        if abs(size.width * photo.height / (size.height * photo.width) - 1) > ASPECT_SLACK:
            raise refused(f"has {size.width} x {size.height} px, and its photo {photo.width} x {photo.height}: other "
                          "proportions", "Make the mask of the whole upright photo, at its size")
        smaller = size.width * size.height > photo.width * photo.height
        alpha = np.asarray(cv2.resize(alpha, (photo.width, photo.height),
                                      interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR), dtype=np.uint8)
        note = f"scaled from {size.width} x {size.height} px to the photo's {photo.width} x {photo.height}"
    if np.count_nonzero(alpha > 127) < SMALLEST_PRODUCT * alpha.size:
        raise refused("shows no product", "Paint the product white, or opaque, and the rest black, or clear")
    return np.dstack([alpha] * 3), note


def grey_png(mask: Picture) -> bytes:
    """A stored mask as an 8-bit grey PNG, as painting programs take it."""
    done, data = cv2.imencode(".png", np.ascontiguousarray(mask[:, :, 0]))
    if not done:
        raise RuntimeError(f"OpenCV could not encode a mask of shape {mask.shape}")
    return bytes(data)


def _alpha(picture: Picture) -> Picture | None:
    """uint8 (height, width); None where nothing says what it is. A decoded picture has alpha only where it is real."""
    if picture.shape[2] == 4:
        return np.ascontiguousarray(picture[:, :, 3])
    grey = np.ascontiguousarray(picture[:, :, 0])
    return grey if np.array_equal(grey, picture[:, :, 1]) and np.array_equal(grey, picture[:, :, 2]) else None
