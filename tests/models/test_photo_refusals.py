"""What cannot be a photo is one clear error, named for what it is, and costs nothing."""

from __future__ import annotations

import re
import subprocess
import sys
import zlib
from contextlib import suppress

import numpy as np
import pytest
from photo_files import GREY, chunk, decoded, jpeg_claiming, png, saved, textured, webp_claiming

from models.errors import InputError, PhotoRefused
from models.photos import VERDICTS, decode_photo


def refused(data: bytes, name: str = "photo") -> PhotoRefused:
    with pytest.raises(PhotoRefused) as caught:
        decode_photo(data, name=name)
    error = caught.value
    assert (error.field, error.value) == ("image", name)
    assert error.code in VERDICTS
    assert str(error) == f"image={name!r}: {error.message}. {error.remedy}"
    assert error.remedy
    assert "\n" not in str(error)
    return error


@pytest.mark.parametrize(("data", "told"), [
    (png(65500, 65500, 8, 2), "more than 50 megapixels"), (png(30000, 30000, 1, 0), "more than 50 megapixels"),
    (png(10000, 10000, 8, 2), r"more than 50 megapixels \(image size \(100000000 pixels\)\)"),
    (png(7100, 7100, 8, 2), r"more than 50 megapixels \(7100 x 7100\)"), (png(20001, 64, 8, 2), "no side may be over"),
    (jpeg_claiming(65500, 65500), "more than 50 megapixels"),
    (jpeg_claiming(9000, 9000), r"more than 50 megapixels \(9000 x 9000\)"),
    (jpeg_claiming(65500, 70), r"is 65500 x 70, and no side may be over 20,000 pixels"),
    (webp_claiming(16383, 16383), "more than 50 megapixels"), (webp_claiming(8000, 8000), r"\(8000 x 8000\)")])
def test_bombs_are_refused_by_their_header(data: bytes, told: str, recwarn: pytest.WarningsRecorder) -> None:
    assert len(data) < 2000
    error = refused(data)
    assert re.search(told, str(error))
    assert error.code == ("side_too_long" if "no side" in told else "too_many_pixels")
    assert not recwarn.list


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP"])
def test_metadata_that_unpacks_without_end_is_refused(kind: bytes) -> None:
    data = png(64, 64, 8, 2, extra=chunk(kind, b"k\0\0" + zlib.compress(bytes(50_000_000))))
    error = refused(data)
    assert "too large" in str(error)
    assert error.code == "metadata_bomb"


def test_a_bomb_takes_no_memory() -> None:
    script = ("import io, resource; from PIL import Image\nfrom models.photos import decode_photo\n"
              "data = bytes.fromhex(input())\n"
              "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
              "try: decode_photo(data, name='bomb')\n"
              "except Exception as error: print(type(error).__name__)\n"
              "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)")
    for data in (png(12000, 12000, 8, 2), jpeg_claiming(12000, 12000), webp_claiming(12000, 12000)):
        ran = subprocess.run(
            [sys.executable, "-c", script], input=data.hex(), capture_output=True, text=True, check=True)
        kind, kilobytes = ran.stdout.split()
        assert kind == "PhotoRefused"
        assert int(kilobytes) < 50_000


@pytest.mark.parametrize("shape", [(63, 200), (200, 63), (1, 1), (1, 500)])
def test_a_photo_with_a_side_under_64_pixels_is_refused(shape: tuple[int, int]) -> None:
    error = refused(saved(np.zeros((*shape, 3), np.uint8)))
    assert f"is {shape[1]} x {shape[0]}, and both sides must be at least 64 pixels" in str(error)
    assert error.code == "too_small"


def test_a_photo_of_exactly_64_pixels_is_read() -> None:
    assert decoded(saved(GREY)).picture.shape == (64, 64, 3)


def test_a_header_of_no_size_is_refused() -> None:
    refused(png(0, 64, 8, 2))


@pytest.mark.parametrize("kind", ["JPEG", "progressive JPEG", "PNG", "WEBP", "lossless WEBP"])
def test_a_file_cut_off_anywhere_is_refused(kind: str) -> None:
    rng = np.random.default_rng(3)
    noisy = np.clip(textured().astype(int) + rng.normal(0, 20, (80, 112, 3)), 0, 255).astype(np.uint8)
    data = saved(noisy, kind.split()[-1], progressive=kind.startswith("prog"), lossless=kind.startswith("lossless"))
    lengths = {*range(1, 40), *range(40, len(data), len(data) // 50), *range(len(data) - 30, len(data))}
    for length in sorted(lengths):
        assert refused(data[:length]).code == "truncated" or length < 16
    assert decoded(data).picture.shape == (80, 112, 3)


def test_flipped_bits_give_a_picture_or_one_clear_error() -> None:
    rng = np.random.default_rng(5)
    for kind in ("JPEG", "PNG", "WEBP"):
        data = bytearray(saved(textured(), kind))
        for _ in range(150):
            at, bit = int(rng.integers(len(data))), 1 << int(rng.integers(8))
            data[at] ^= bit
            with suppress(InputError):
                assert decode_photo(bytes(data), name="flipped").picture.dtype == np.uint8
            data[at] ^= bit


@pytest.mark.parametrize(("data", "told"), [
    (b"", "the file is empty"), (b"\xff", "not a JPEG, PNG or WebP"), (bytes(1000), "not a JPEG, PNG or WebP"),
    (b"Dear Sir or Madam, please find attached", "it is not a JPEG, PNG or WebP"),
    (b"<!DOCTYPE html><html></html>", "it is HTML or XML"), (b'<?xml version="1.0"?><svg/>', "perhaps an SVG"),
    (b" \n<svg xmlns='http://www.w3.org/2000/svg'/>", "it is an SVG"), (b"%PDF-1.7\n", "it is a PDF"),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "it is PostScript"),
    (b"PK\3\4" + bytes(30), "a ZIP archive"),
    (b"\0\0\0\x1cftypheic" + bytes(40), "HEIC, AVIF or video"), (b"\xff\xd8\xff", "begins like a photo"),
    (saved(GREY, "GIF"), "it is a GIF"), (saved(GREY, "TIFF"), "it is a TIFF"), (saved(GREY, "BMP"), "it is a BMP")])
def test_what_is_no_photo_is_named_for_what_it_is(data: bytes, told: str) -> None:
    error = refused(data, "upload.jpg")
    assert told in str(error)
    assert error.code == ("empty" if not data else "truncated" if told.startswith("begins") else
                          "unrecognised" if "not a JPEG" in told else "unsupported_format")


def test_a_file_over_fifty_megabytes_is_refused_unread() -> None:
    error = refused(bytes(50_000_001))
    assert "50,000,001 bytes, and at most 50,000,000" in str(error)
    assert error.code == "too_large_file"


def test_a_file_of_exactly_fifty_megabytes_is_read() -> None:
    photo = saved(GREY)
    assert decoded(photo + bytes(50_000_000 - len(photo))).picture.shape == (64, 64, 3)


@pytest.mark.parametrize("where", ["PIL.Image.open", "models.photos.to_srgb"])
def test_a_lack_of_memory_is_not_blamed_on_the_file(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(where, fail)
    with pytest.raises(MemoryError):
        decode_photo(saved(GREY), name="photo")


def test_a_file_that_contradicts_itself_is_broken_and_not_cut_off() -> None:
    data = bytearray(saved(textured()))
    data[data.index(b"IDAT") + 8] ^= 0xFF
    assert refused(bytes(data)).code == "broken"
