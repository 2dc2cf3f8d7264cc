"""Colour profiles built by hand after ICC.1:2001-04 (version 2.4), and the arithmetic to check them by."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

D50 = np.array([0.9642, 1.0, 0.8249])
SRGB_TO_XYZ = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
P3_TO_XYZ = np.array([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]])


def fixed(values: Any) -> bytes:
    return b"".join(struct.pack(">i", round(float(value) * 65536)) for value in values)


def icc(space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    words = {b"desc": b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(78),
             b"cprt": b"text\0\0\0\0none\0", b"wtpt": b"XYZ \0\0\0\0" + fixed(D50), **tags}
    table, body, at = struct.pack(">I", len(words)), b"", 128 + 4 + 12 * len(words)
    for name, content in words.items():
        table += name + struct.pack(">II", at + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    kind = b"prtr" if space == b"CMYK" else b"mntr"
    header = (struct.pack(">I", at + len(body)) + bytes(4) + struct.pack(">I", 0x02400000) + kind + space + connection
              + bytes(12) + b"acsp" + bytes(28) + fixed(D50) + bytes(48))
    return header + table + body


def curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))


def rgb_profile(to_xyz: NDArray[np.float64], tone: bytes) -> bytes:
    columns = {bytes(name + "XYZ", "ascii"): b"XYZ \0\0\0\0" + fixed(to_xyz[:, i]) for i, name in enumerate("rgb")}
    return icc(b"RGB ", b"XYZ ", {**columns, **{name + b"TRC": tone for name in (b"r", b"g", b"b")}})


def grey_profile(gamma: float) -> bytes:
    return icc(b"GRAY", b"XYZ ", {b"kTRC": curve(gamma)})


def cmyk_profile(colour_of: dict[tuple[int, int, int, int], tuple[int, int, int]]) -> bytes:
    """Four inks at full or none: 16 corners, each an sRGB colour, straight lines between them (tag type lut16)."""
    corners = b""
    for index in range(16):
        inks = ((index >> 3) & 1, (index >> 2) & 1, (index >> 1) & 1, index & 1)
        lightness, a, b = lab_of(colour_of[inks])
        corners += struct.pack(">HHH", *(round(value) for value in (
            lightness * 65280 / 100, (a + 128) * 256, (b + 128) * 256)))
    straight = struct.pack(">HH", 0, 65535)
    lut = (b"mft2\0\0\0\0" + bytes([4, 3, 2, 0]) + fixed([1, 0, 0, 0, 1, 0, 0, 0, 1]) + struct.pack(">HH", 2, 2)
           + straight * 4 + corners + straight * 3)
    return icc(b"CMYK", b"Lab ", {b"A2B0": lut})


def linear(encoded: Any) -> NDArray[np.float64]:
    part = np.asarray(encoded, dtype=np.float64) / 255
    return np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)


def as_srgb(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """Linear sRGB light 0..1, cut to the gamut, as 0..255."""
    part = np.clip(light, 0, 1)
    return 255 * np.where(part <= 0.0031308, part * 12.92, 1.055 * part ** (1 / 2.4) - 0.055)


def lab_of(colour: tuple[int, int, int]) -> tuple[float, float, float]:
    ratio = SRGB_TO_XYZ @ linear(colour) / D50
    f = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    return float(116 * f[1] - 16), float(500 * (f[0] - f[1])), float(200 * (f[1] - f[2]))


INK_COLOURS = {(c, m, y, k): (0, 0, 0) if k else (20 + 235 * (1 - c), 30 + 225 * (1 - m), 40 + 215 * (1 - y))
               for c in (0, 1) for m in (0, 1) for y in (0, 1) for k in (0, 1)}
"""Four inks, at full or none, and their colours: a plain press."""
