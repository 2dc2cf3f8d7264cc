"""Honest photos of every kind, odd names and odd contents among them: a gate that refused these would be safe and
useless."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache

import numpy as np
from hostile_case import Hostile, accepted, refused
from photo_files import RAMP, chunk, png, saved, textured
from PIL import Image


@cache
def kinds() -> dict[str, bytes]:
    """One small picture in each way that a JPEG, PNG or WebP can hold it."""
    rgb = Image.fromarray(textured())
    rgba = Image.fromarray(np.dstack([textured(), textured()[:, :, 1]]))
    palette = rgb.quantize(16)
    deep = b"".join(b"\0" + np.linspace(0, 65535, 336).astype(">u2").tobytes() for _ in range(80))
    return {
        "jpeg": saved(rgb, "JPEG", quality=90),
        "progressive-jpeg": saved(rgb, "JPEG", progressive=True),
        "grey-jpeg": saved(rgb.convert("L"), "JPEG"),
        "cmyk-jpeg": saved(rgb.convert("CMYK"), "JPEG"),
        "png": saved(rgb),
        "rgba-png": saved(rgba),
        "palette-png": saved(palette, transparency=bytes(range(0, 256, 16))),
        "one-bit-png": saved(rgb.convert("1")),
        "deep-png": png(112, 80, 16, 2, deep),
        "grey-alpha-png": saved(rgba.convert("LA")),
        "webp": saved(rgb, "WEBP"),
        "lossless-webp": saved(rgb, "WEBP", lossless=True),
        "rgba-webp": saved(rgba, "WEBP"),
    }


def valid() -> Iterator[Hostile]:
    for name, data in kinds().items():
        yield accepted(name, data)


def orientations() -> Iterator[Hostile]:
    for value in (*range(1, 9), 0, 9, 255):
        exif = Image.Exif()
        exif[0x0112] = value
        yield accepted(f"orientation-{value}.jpg", saved(textured(), "JPEG", exif=exif))


def wrong_endings() -> Iterator[Hostile]:
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"):
        data = saved(textured(), kind)
        for ending in (".jpg", ".png", ".webp", ".gif", ".eps", ".php"):
            name = f"{kind}{ending}"
            yield (accepted(name, data) if kind in ("JPEG", "PNG", "WEBP")
                   else refused(name, data, "unsupported_format"))


def plain() -> Iterator[Hostile]:
    """The decoder takes them; that nothing is to be seen is for the quality gate to say."""
    yield accepted("black.jpg", saved(np.zeros((200, 200, 3), np.uint8), "JPEG"))
    yield accepted("transparent.png", saved(np.zeros((200, 200, 4), np.uint8)))
    yield accepted("ramp.png", saved(RAMP))
    keyed = png(64, 64, 8, 0, (b"\0" + bytes(64)) * 64, chunk(b"tRNS", struct.pack(">H", 0)))
    yield accepted("transparent-by-key.png", keyed)
