"""The largest photos that are legal, 50 megapixels of every kind, fit through the gate's memory and time."""

from __future__ import annotations

from collections.abc import Callable, Generator

import numpy as np
import pytest
from colour_profiles import INK_COLOURS, cmyk_profile
from photo_files import GREY, png, saved
from PIL import Image

from models.photos import MAX_PIXELS
from tasks.gate import PhotoGate

WIDTH, HEIGHT = 8000, 6250
SMALL = saved(GREY)
TURNED = Image.Exif()
TURNED[0x0112] = 6


def blank(mode: str) -> Image.Image:
    return Image.new(mode, (WIDTH, HEIGHT))  # memory depends on the size and not on the picture


def lossy(mode: str, kind: str = "JPEG", **options: object) -> Callable[[], bytes]:
    return lambda: saved(blank(mode), kind, **options)


def lossless(mode: str, **options: object) -> Callable[[], bytes]:
    return lambda: saved(blank(mode), compress_level=1, **options)


def deep(colour: int, channels: int) -> bytes:
    row = b"\0" + np.full(WIDTH * channels, 0x8181, ">u2").tobytes()
    return png(WIDTH, HEIGHT, 16, colour, row * HEIGHT)


KINDS = {
    "jpeg": lossy("RGB"), "turned jpeg": lossy("RGB", exif=TURNED), "cmyk": lossy("CMYK"),
    "progressive jpeg": lossy("RGB", progressive=True, subsampling=0),
    "progressive cmyk": lossy("CMYK", progressive=True, subsampling=0),
    "cmyk with a profile": lossy("CMYK", icc_profile=cmyk_profile(INK_COLOURS)),
    "png": lossless("RGB"), "rgba": lossless("RGBA"), "turned rgba": lossless("RGBA", exif=TURNED),
    "palette": lossless("P", transparency=bytes(range(256))), "grey": lossless("L"), "one bit": lossless("1"),
    "16-bit rgb": lambda: deep(2, 3), "16-bit rgba": lambda: deep(6, 4), "16-bit grey": lambda: deep(0, 1),
    "webp": lossy("RGB", "WEBP", method=0, quality=50), "webp with alpha": lossy("RGBA", "WEBP", method=0, quality=50),
    "lossless webp": lossy("RGBA", "WEBP", lossless=True, method=0, quality=0),
}
LARGEST = ("lossless webp", "progressive cmyk")


@pytest.fixture(scope="module")
def gate() -> Generator[PhotoGate]:
    with PhotoGate(workers=1) as opened:
        yield opened


@pytest.mark.parametrize("kind", [
    pytest.param(kind, marks=() if kind in LARGEST else pytest.mark.slow) for kind in KINDS])
def test_fifty_megapixels_of_each_kind_pass_at_the_first_try(gate: PhotoGate, kind: str) -> None:
    assert WIDTH * HEIGHT == MAX_PIXELS
    gate.decode(SMALL, name="small")
    before = gate.pids
    photo = gate.decode(KINDS[kind](), name=kind)
    assert sorted(photo.picture.shape[:2]) == [HEIGHT, WIDTH]
    assert gate.pids == before
