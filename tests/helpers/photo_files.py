"""Image files made by hand, honest ones and liars, for the tests of photos."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.photos import DecodedPhoto, decode_photo

Pixels = NDArray[np.uint8]


def saved(picture: Pixels | Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, depth: int, colour: int, rows: bytes = b"", extra: bytes = b"") -> bytes:
    """A PNG by hand: any header, with or without the pixels to fill it."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows))
            + chunk(b"IEND", b""))


def jpeg_claiming(width: int, height: int, *, progressive: bool = False) -> bytes:
    data = bytearray(saved(GREY, "JPEG", progressive=progressive))
    at = data.index(b"\xff\xc2" if progressive else b"\xff\xc0") + 5
    data[at:at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def webp_claiming(width: int, height: int) -> bytes:
    data = bytearray(saved(GREY, "WEBP", lossless=True))
    at = data.index(b"VP8L") + 9  # behind the chunk's size and the signature byte: 14 bits of each side, less one
    rest = int.from_bytes(data[at:at + 4], "little") >> 28 << 28
    data[at:at + 4] = (rest | (height - 1) << 14 | (width - 1)).to_bytes(4, "little")
    return bytes(data)


def textured(height: int = 80, width: int = 112) -> Pixels:
    """Smooth colours with one white corner, so that every turn and flip of it is another picture."""
    down, across = np.mgrid[0:height, 0:width]
    picture = np.stack([down * 2, across * 2, (down + across)], axis=-1).astype(np.uint8)
    picture[:16, :24] = 255
    return picture


GREY = np.full((64, 64, 3), 128, np.uint8)
RAMP = np.tile(np.arange(256, dtype=np.uint8), (64, 1))


def decoded(data: bytes, name: str = "photo") -> DecodedPhoto:
    return decode_photo(data, name=name)
