"""Bytes tell what a file is, how large a WebP is and where a picture ends, without a decoder."""

from __future__ import annotations

import io
import time

import numpy as np
import pytest
from hostile_bombs import webp_canvas
from photo_files import saved, textured, webp_claiming
from PIL import Image

from models.photo_bytes import Shape, end_of_picture, webp_size, what_it_is


@pytest.mark.parametrize("kind", ["JPEG", "progressive JPEG", "PNG", "WEBP", "lossless WEBP"])
def test_a_picture_ends_where_its_file_does_and_not_behind_it(kind: str) -> None:
    data = saved(textured(), kind.split()[-1], progressive=kind.startswith("prog"), lossless=kind.startswith("loss"))
    assert end_of_picture(data) == len(data)
    assert end_of_picture(data + b"\xff\xd9 another picture") == len(data)
    assert [end_of_picture(data[:length]) for length in range(len(data))] == [None] * len(data)


def test_a_thumbnails_end_is_not_the_photos() -> None:
    small = saved(textured(), "JPEG")
    data = saved(textured(), "JPEG", comment=small, xmp=small)
    assert data.count(b"\xff\xd9") == 3
    assert end_of_picture(data + b"tail") == len(data)


def test_a_jpeg_whose_segments_have_no_length_ends_nowhere() -> None:
    assert end_of_picture(b"\xff\xd8" + b"\xff\xe0\0\0" * 1000) is None


def test_a_long_run_of_fill_bytes_costs_no_more_than_another() -> None:
    """What a bad memory card writes; and 300 kB of it held a decoder for longer than its 5 s."""
    photo = saved(textured(), "JPEG")
    start = time.process_time()
    assert end_of_picture(photo[:300] + b"\xff" * 5_000_000) is None
    assert end_of_picture(photo[:-2] + b"\xff" * 5_000_000 + b"\0" + photo[-2:]) == len(photo) + 5_000_001
    assert end_of_picture(photo[:-2] + b"\xff" * 5_000_000 + photo[-2:]) == len(photo) + 5_000_000
    assert time.process_time() - start < 2


@pytest.mark.parametrize(("width", "height"), [(64, 64), (300, 7), (16383, 1)])
@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"}])
def test_a_webps_size_is_read_from_its_first_chunk(width: int, height: int, options: dict[str, object]) -> None:
    data = saved(np.full((height, width, 3), 9, np.uint8), "WEBP", **options)
    assert webp_size(data) == (width, height) == Image.open(io.BytesIO(data)).size


def test_a_webp_claims_more_than_pillow_would_make_room_for() -> None:
    assert webp_size(webp_claiming(16383, 16000)) == (16383, 16000)
    assert webp_size(webp_canvas(1 << 24, 1 << 24)) == (1 << 24, 1 << 24)


@pytest.mark.parametrize("data", [b"", saved(textured()), saved(textured(), "WEBP")[:29], b"RIFF" + bytes(40),
                                  b"RIFF\0\0\0\0WEBPwhat" + bytes(40)])
def test_what_is_no_whole_webp_header_has_no_size(data: bytes) -> None:
    assert webp_size(data) is None


@pytest.mark.parametrize(("data", "shape", "told"), [
    (saved(textured(), "JPEG"), "photo", "begins like a photo"), (b"\x89PNG", "photo", "begins like a photo"),
    (b"RIFF\0\0\0\0WEBP", "photo", "begins like a photo"), (b"RIFF\0\0\0\0AVI ", "other", "a sound or video file"),
    (b"\x7fELF", "other", "a program"), (b"\n\n<svg/>", "other", "an SVG"),
    (b"\0\0\0\x20ftypavif", "other", "a HEIC, AVIF or video file"), (b"dear sir", "unknown", "not a JPEG")])
def test_first_bytes_name_a_file(data: bytes, shape: Shape, told: str) -> None:
    named, text = what_it_is(data)
    assert named == shape
    assert told in text
