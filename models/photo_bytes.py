"""What a file's bytes say before any decoder sees them: what it looks like, how large, where its picture ends."""

from __future__ import annotations

import re
import struct
from typing import Literal

Shape = Literal["photo", "other", "unknown"]
"""Begins like a JPEG, PNG or WebP; is something else that can be named; is nothing known."""

SIGNATURES = (
    (b"GIF8", "a GIF"), (b"II*\0", "a TIFF"), (b"MM\0*", "a TIFF"), (b"II+\0", "a TIFF"), (b"MM\0+", "a TIFF"),
    (b"BM", "a BMP"), (b"8BPS", "a Photoshop file"), (b"%PDF", "a PDF"), (b"%!PS", "PostScript"),
    (b"\xc5\xd0\xd3\xc6", "PostScript"), (b"PK\3\4", "a ZIP archive"), (b"\0\0\1\0", "an icon"), (b"icns", "an icon"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000"), (b"\xff\x4f\xff\x51", "a JPEG 2000"), (b"\xff\x0a", "a JPEG XL"),
    (b"DDS ", "a DDS texture"), (b"qoif", "a QOI"), (b"RIFF", "a sound or video file"), (b"\x1f\x8b", "a gzip file"),
    (b"\x7fELF", "a program"), (b"MZ", "a program"), (b"#!", "a script"), (b"#define", "an XBM or C source"),
    (b"push graphic-context", "an MVG drawing"), (b"\x80\2", "a Python pickle"), (b"\x80\3", "a Python pickle"),
    (b"\x80\4", "a Python pickle"), (b"\x80\5", "a Python pickle"), (b"<svg", "an SVG"),
    (b"<?xml", "XML, perhaps an SVG"), (b"<", "HTML or XML"))
"""First bytes of what is commonly sent instead: only so that the refusal can name it."""

PNG_END = b"IEND\xaeB`\x82"
"""The closing chunk's name and check sum (PNG, third edition, 11.2.4): the same in every PNG."""

_JPEG_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
"""A marker that is neither a stuffed byte of the compressed data nor a restart (ITU-T T.81, B.1.1.2). Of the 0xFF that
may fill the room before it only the last is matched: matching all (`+`) would try a run of n from each of its bytes."""
_JPEG_END, _JPEG_WITHOUT_LENGTH = 0xD9, (0x01, 0xD8)


def what_it_is(data: bytes) -> tuple[Shape, str]:
    """What `data` looks like by its first bytes, and that in words."""
    start = data[:32].lstrip(b"\xef\xbb\xbf \t\r\n")
    if data[4:8] == b"ftyp":
        return "other", "it is a HEIC, AVIF or video file, not a JPEG, PNG or WebP"
    if data.startswith((b"\xff\xd8", b"\x89PNG")) or (data.startswith(b"RIFF") and data[8:12] in (b"WEBP", b"")):
        return "photo", "it begins like a photo"
    for signature, what in SIGNATURES:
        if start.startswith(signature):
            return "other", f"it is {what}, not a JPEG, PNG or WebP"
    return "unknown", "it is not a JPEG, PNG or WebP"


def end_of_picture(data: bytes) -> int | None:
    """Where a JPEG, PNG or WebP ends by its own account; None where the file ends before that: it is cut off."""
    if data.startswith(b"\x89PNG"):
        at = data.find(PNG_END)
        return None if at < 0 else at + len(PNG_END)
    if data.startswith(b"RIFF"):
        end = 8 + int.from_bytes(data[4:8], "little")
        return end if 12 < end <= len(data) else None
    return _end_of_jpeg(data)


def _end_of_jpeg(data: bytes) -> int | None:
    """Behind the end-of-image marker of the first picture; what looks like one inside a segment does not count."""
    at = 2
    while found := _JPEG_MARKER.search(data, at):
        marker = found[1][0]
        if marker == _JPEG_END:
            return found.end()
        at = found.end()
        if marker not in _JPEG_WITHOUT_LENGTH:
            at += int.from_bytes(data[at:at + 2], "big")
    return None


def webp_size(data: bytes) -> tuple[int, int] | None:
    """Width and height by a WebP's first chunk (RFC 9649, 2.5 to 2.7); None for other files and shorter ones.

    Needed because Pillow makes room for a WebP's whole canvas, twice, when it opens the file.
    """
    head = data[:30]
    if not (len(head) == 30 and head.startswith(b"RIFF") and head[8:12] == b"WEBP"):
        return None
    if head[12:16] == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if head[12:16] == b"VP8 ":
        width, height = struct.unpack("<HH", head[26:30])
        return width & 0x3FFF, height & 0x3FFF
    return None
