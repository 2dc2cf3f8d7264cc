"""Photos with a word planted wherever a file can carry one: nothing but pixels may come out of them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from photo_files import GREY, chunk, saved, textured
from PIL import Image

WORD = "canary"


def word(place: str) -> str:
    return f"{WORD}-of-{place}"


def exif() -> Image.Exif:
    """Words in the main, the EXIF and the GPS directory, a thumbnail, and a turn by 90 degrees."""
    tags = Image.Exif()
    tags[0x0112] = 6
    tags[0x010E], tags[0x010F], tags[0x8298] = word("description"), word("make"), word("copyright")
    tags.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0" + word("user-comment").encode()
    tags.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0), 29: word("gps-date")})
    return tags


def thumbnail() -> bytes:
    """An EXIF block of its own whose second directory is a small JPEG with a comment."""
    small = saved(GREY, "JPEG", comment=word("thumbnail").encode())
    first = struct.pack("<HI", 0, 14)
    second = struct.pack("<H", 2) + struct.pack("<HHII", 0x0201, 4, 1, 44) + struct.pack("<HHII", 0x0202, 4, 1, len(
        small)) + bytes(4)
    return b"Exif\0\0II*\0\x08\0\0\0" + first + second + small


def profile() -> bytes:
    """A profile that is no profile but a place for words."""
    return b"\0\0\2\0lcms" + bytes(28) + b"acsp" + bytes(88) + word("profile").encode()


XMP = f"<x:xmpmeta xmlns:x='adobe:ns:meta/'>{word('xmp')}</x:xmpmeta>".encode()
TAIL = b"PK\3\4<?php " + word("tail").encode() + b" ?>"


def segment(marker: int, body: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body


def riff(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def canaries() -> Iterator[tuple[str, bytes, int]]:
    """A name, a file, and how many words are in it as plain bytes."""
    jpeg = saved(textured(), "JPEG", exif=exif(), icc_profile=profile(), comment=word("comment").encode(), xmp=XMP)
    iptc = b"Photoshop 3.0\0" + b"8BIM\4\4\0\0" + struct.pack(">I", 40) + b"\x1c\2\x78\0\x20" + word("iptc").encode()
    planted = segment(0xED, iptc) + segment(0xE1, thumbnail()) + segment(0xEC, word("ducky").encode())
    yield "photo.jpg", jpeg[:2] + planted + jpeg[2:] + TAIL, 12

    png = saved(textured(), exif=exif(), icc_profile=profile())
    texts = (chunk(b"tEXt", b"Author\0" + word("text").encode())
             + chunk(b"zTXt", b"Comment\0\0" + zlib.compress(word("packed").encode()))
             + chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)
             + chunk(b"prVt", word("private").encode()))
    yield "photo.png", png[:33] + texts + png[33:] + TAIL, 9

    webp = saved(textured(), "WEBP", exif=exif(), icc_profile=profile(), xmp=XMP)
    body = webp[8:] + riff(b"JUNK", word("junk").encode())
    yield "photo.webp", b"RIFF" + struct.pack("<I", len(body)) + body + TAIL, 9
