import io

import numpy as np
import pytest
from PIL import Image

from models.pictures import Size, decode_png, encode_png, flat, over, size_of, with_png_text

RNG = np.random.default_rng(0)


def noise(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("channels", [3, 4])
def test_a_stored_picture_comes_back_to_the_bit(channels: int) -> None:
    picture = noise(33, 47, channels)
    assert np.array_equal(decode_png(encode_png(picture)), picture)


def test_colour_under_zero_alpha_survives_storage() -> None:
    picture = noise(8, 8, 4)
    picture[:, :, 3] = 0
    assert np.array_equal(decode_png(encode_png(picture)), picture)


def test_pillow_reads_the_same_pixels_in_rgb_order() -> None:
    picture = noise(9, 7, 3)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encode_png(picture)))), picture)


def test_equal_pixels_give_equal_bytes() -> None:
    picture = noise(16, 16, 3)
    assert encode_png(picture) == encode_png(picture.copy())


def test_bytes_that_are_no_picture_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot decode"):
        decode_png(b"not a png")


def test_over_keeps_both_ends_of_alpha_to_the_byte() -> None:
    front, back = noise(8, 8, 4), noise(8, 8, 3)
    front[:4, :, 3], front[4:, :, 3] = 255, 0
    result = over(front, back)
    assert np.array_equal(result[:4], front[:4, :, :3])
    assert np.array_equal(result[4:], back[4:])


def test_over_mixes_in_between() -> None:
    front = np.full((1, 1, 4), (200, 100, 0, 51), dtype=np.uint8)
    assert over(front, flat(Size(1, 1), 100))[0, 0].tolist() == [120, 100, 80]


def test_png_text_is_added_without_touching_the_pixels() -> None:
    picture = noise(12, 10, 3)
    stamped = with_png_text(encode_png(picture), {"backlot:job_id": "a-1", "Software": "Backlot – ü"})
    opened = Image.open(io.BytesIO(stamped))
    opened.load()
    assert opened.text == {"backlot:job_id": "a-1", "Software": "Backlot – ü"}  # type: ignore[attr-defined]
    assert np.array_equal(np.asarray(opened), picture)


def test_png_text_wants_a_png() -> None:
    with pytest.raises(ValueError, match="not a PNG"):
        with_png_text(b"\xff\xd8\xff" + bytes(40), {"a": "b"})


def test_sizes_put_height_first() -> None:
    assert size_of(noise(3, 5, 3)) == Size(height=3, width=5)
