from __future__ import annotations

import cv2
import numpy as np
import pytest

from models.errors import InputError
from models.mask import grey_png, mask_of
from models.photos import decode_photo
from models.pictures import Picture, Size

PHOTO = Size(120, 160)
ROWS, COLUMNS = np.mgrid[0:120, 0:160].astype(np.float64)
SHAPE = np.clip(40 - np.hypot(ROWS - 60, COLUMNS - 80) + 0.5, 0, 1)


def made(picture: np.ndarray, ending: str = ".png") -> tuple[Picture, str]:
    """The mask that this picture, saved as a file, becomes. Channels as OpenCV has them."""
    data = bytes(cv2.imencode(ending, picture)[1])
    return mask_of(decode_photo(data, name="mask" + ending), PHOTO, name="mask" + ending)


EIGHT = np.rint(SHAPE * 255).astype(np.uint8)
WAYS = {
    "8-bit grey": EIGHT,
    "16-bit grey": np.rint(SHAPE * 65535).astype(np.uint16),
    "grey saved as colour": np.dstack([EIGHT] * 3),
    "alpha over some colours": np.dstack([np.full_like(EIGHT, 9), np.full_like(EIGHT, 200), EIGHT, EIGHT]),
    "16-bit alpha": np.dstack([np.zeros((120, 160, 3), np.uint16), np.rint(SHAPE * 65535).astype(np.uint16)]),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_mask_is_its_grey_or_its_alpha_with_its_soft_edge(way: str) -> None:
    mask, note = made(WAYS[way])
    assert mask.shape == (120, 160, 3)
    assert note == ""
    for channel in range(3):
        assert np.abs(mask[:, :, channel].astype(int) - EIGHT).max() <= 1


@pytest.mark.parametrize("size", [(96, 72), (320, 240), (161, 121)])
def test_a_mask_of_another_size_and_the_same_proportions_is_scaled_with_a_note(size: tuple[int, int]) -> None:
    mask, note = made(cv2.resize(EIGHT, size, interpolation=cv2.INTER_AREA))
    assert note == f"scaled from {size[0]} x {size[1]} px to the photo's 160 x 120"
    assert mask.shape == (120, 160, 3)
    assert np.abs(mask[:, :, 0] / 255.0 - SHAPE).mean() < 0.01


@pytest.mark.parametrize(("picture", "ending", "said"), [
    (cv2.resize(EIGHT, (160, 160)), ".png", "other proportions"),
    (EIGHT.T.copy(), ".png", "other proportions"),
    (EIGHT, ".jpg", "is a JPEG"),
    (np.dstack([EIGHT, EIGHT // 2, EIGHT]), ".png", "colour picture without alpha"),
    (np.zeros((120, 160), np.uint8), ".png", "shows no product"),
], ids=["square", "lying down", "jpeg", "colour", "black"])
def test_what_is_no_mask_of_the_photo_is_refused_in_one_line(picture: np.ndarray, ending: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        made(picture, ending)
    assert (caught.value.field, caught.value.value) == ("MASK", f"mask{ending}")
    assert "\n" not in str(caught.value)


def test_a_stored_mask_is_written_as_8_bit_grey() -> None:
    mask, _ = made(EIGHT)
    assert np.array_equal(cv2.imdecode(np.frombuffer(grey_png(mask), np.uint8), cv2.IMREAD_UNCHANGED), EIGHT)
