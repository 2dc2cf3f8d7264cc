"""Files that were whole once: cut off at 24 points, or with bits flipped."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
from hostile_case import ACCEPTED, NO_PHOTO, Hostile, refused
from hostile_photos import kinds
from photo_files import saved, textured

CUTS, FLIPS = 24, 128
SNIFFED = 16
"""Bytes from which a photo's format is known for certain; what is shorter may be taken for anything."""
CUT = frozenset({"truncated"})
DAMAGED = frozenset({
    ACCEPTED, "truncated", "broken", "unsupported_format", "unrecognised", "too_many_pixels", "side_too_long",
    "too_small", "metadata_bomb"})
"""Most decoders cannot see a flipped bit. What it must not do is kill, stop or bloat one."""


@cache
def _sources() -> dict[str, tuple[bytes, frozenset[str]]]:
    """16 formats to cut, each with the verdicts of its cut copies."""
    photos = {name: (kinds()[name], CUT) for name in (
        "jpeg", "progressive-jpeg", "grey-jpeg", "cmyk-jpeg", "png", "palette-png", "deep-png", "webp", "lossless-webp",
        "rgba-webp")}
    others = {kind: (saved(textured(), kind), NO_PHOTO) for kind in ("GIF", "TIFF", "BMP", "JPEG2000", "ICO", "AVIF")}
    return photos | others


def truncations() -> Iterator[Hostile]:
    for kind, (data, may) in _sources().items():
        for step in range(CUTS):
            length = 1 + step * (len(data) - 2) // (CUTS - 1)  # from the first byte alone to all but the last
            short = NO_PHOTO if length < SNIFFED else frozenset[str]()
            yield refused(f"{kind}-cut-at-{length}", data[:length], *may, *short)


def bit_flips() -> Iterator[Hostile]:
    """One to eight flipped bits in each; headers, which are small, are hit as often as the rest."""
    rng = np.random.default_rng(20)
    for kind in ("jpeg", "png", "webp"):
        for number in range(FLIPS):
            data = bytearray(kinds()[kind])
            reach = 64 if number % 2 else len(data)
            for at in rng.integers(0, reach, 1 + number % 8):
                data[at] ^= 1 << int(rng.integers(8))
            yield refused(f"{kind}-flipped-{number}", bytes(data), *DAMAGED)
