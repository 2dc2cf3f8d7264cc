"""Pictures between passes: 8-bit numpy arrays, RGB or RGBA, sRGB-encoded, straight (not premultiplied) alpha.

A picture has shape (height, width, 3 or 4) and dtype uint8. This module owns their sizes, their alpha arithmetic and
the one encoder of stored artifacts.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Floats = NDArray[np.float32]


class Size(NamedTuple):
    """Height first, as arrays are indexed; Pillow and OpenCV want (width, height)."""

    height: int
    width: int


def size_of(picture: Picture) -> Size:
    return Size(int(picture.shape[0]), int(picture.shape[1]))


def rgb_of(picture: Picture) -> Picture:
    return picture[:, :, :3]


def alpha_of(picture: Picture) -> Floats:
    """The alpha of an RGBA picture as float32 (height, width, 1) in 0..1."""
    return picture[:, :, 3:4].astype(np.float32) / 255.0


def over(foreground: Picture, background: Picture) -> Picture:
    """`foreground` (RGBA) over `background` (RGB) of the same size, as 8-bit RGB.

    Where alpha is 255 the foreground's own bytes come back unchanged; where it is 0, the background's.
    """
    alpha = alpha_of(foreground)
    mixed = rgb_of(foreground) * alpha + rgb_of(background) * (1.0 - alpha)
    return np.asarray(np.rint(mixed), dtype=np.uint8)


def flat(size: Size, grey: int) -> Picture:
    """A plain grey RGB picture; grey in 0..255."""
    return np.full((size.height, size.width, 3), grey, dtype=np.uint8)


# What OpenCV 5.0 does when told nothing, pinned. The level first: OpenCV resets strategy and filter when it reads it.
_PNG_FLAGS = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE,
              cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_SUB]


def encode_png(picture: Picture) -> bytes:
    """The stored form of every intermediate: lossless PNG by OpenCV, level 1, run-length strategy, "sub" filter.

    Chosen by benchmarks/encoders.py (results under benchmarks/results/). Carries pixels and nothing else: no time,
    no text, no profile, so equal pixels give equal bytes under one OpenCV version.
    """
    channels = picture.shape[2]
    code = cv2.COLOR_RGBA2BGRA if channels == 4 else cv2.COLOR_RGB2BGR
    done, data = cv2.imencode(".png", cv2.cvtColor(picture, code), _PNG_FLAGS)
    if not done:
        raise RuntimeError(f"OpenCV could not encode a picture of shape {picture.shape}")
    return bytes(data)


def decode_png(data: bytes) -> Picture:
    """The inverse of `encode_png`. Only for bytes we stored ourselves; photos go through models.photos."""
    decoded = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None or decoded.ndim != 3:
        raise ValueError("not a picture this store wrote: OpenCV cannot decode it as colour PNG")
    code = cv2.COLOR_BGRA2RGBA if decoded.shape[2] == 4 else cv2.COLOR_BGR2RGB
    return np.asarray(cv2.cvtColor(decoded, code), dtype=np.uint8)


def with_png_text(png: bytes, texts: Mapping[str, str]) -> bytes:
    """`png` with one iTXt chunk a text (UTF-8, uncompressed) behind its header; the pixels are not encoded again.

    PNG specification, third edition, 11.3.3.4 and 5.3. Keywords: 1 to 79 Latin-1 characters.
    """
    header_end = 8 + 25  # signature, then the IHDR chunk with its 13 bytes
    if png[:8] != b"\x89PNG\r\n\x1a\n" or png[12:16] != b"IHDR":
        raise ValueError("not a PNG: the signature or the header is missing")
    chunks = [_png_chunk(b"iTXt", keyword.encode("latin-1") + b"\0\0\0\0\0" + text.encode())
              for keyword, text in texts.items()]
    return png[:header_end] + b"".join(chunks) + png[header_end:]


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")
