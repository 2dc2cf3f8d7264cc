"""Files that are something else, wholly or also: other formats, programs, archives, drawings, polyglots."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Iterator

import numpy as np
from hostile_case import NAMED, NO_PHOTO, Hostile, accepted, refused
from photo_files import chunk, png, saved, textured
from PIL import Image

FOREIGN = {  # Pillow's name -> a mode that it writes
    "GIF": "P", "TIFF": "RGB", "BMP": "RGB", "DIB": "RGB", "AVIF": "RGB", "ICO": "RGBA", "ICNS": "RGBA", "EPS": "RGB",
    "PDF": "RGB", "JPEG2000": "RGB", "TGA": "RGB", "PCX": "RGB", "PPM": "RGB", "SGI": "RGB", "DDS": "RGB",
    "MSP": "1", "XBM": "1", "SPIDER": "F", "BLP": "P", "QOI": "RGB"}

POSTSCRIPT = (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n"
              b"(/tmp/ran-by-ghostscript) (w) file dup (here) writestring closefile showpage\n")
MVG = b"push graphic-context\nviewbox 0 0 99 99\nfill 'url(https://example.com/x.png\"|id > /tmp/ran\")'\npop\n"


def foreign() -> Iterator[Hostile]:
    for kind, mode in FOREIGN.items():
        data = saved(Image.fromarray(textured()).convert(mode), kind)
        yield refused(f"photo.{kind.lower()}", data, *NO_PHOTO)
    yield refused("photo.heic", b"\0\0\0\x1cftypheic" + bytes(3000), *NAMED)
    yield refused("photo.psd", b"8BPS\0\1" + bytes(6) + b"\0\3\0\0\0\x40\0\0\0\x40\0\x08\0\3" + bytes(900), *NAMED)
    yield refused("photo.jxl", b"\xff\x0a" + bytes(300), *NAMED)


def not_pictures() -> Iterator[Hostile]:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("photo.jpg", saved(textured(), "JPEG"))
    files = {
        "page.html": b"<!DOCTYPE html><html><script>alert(1)</script></html>", "photos.zip": packed.getvalue(),
        "paper.pdf": b"%PDF-1.7\n1 0 obj <</OpenAction <</S /JavaScript /JS (app.alert(1))>>>> endobj\n",
        "program.elf": b"\x7fELF\2\1\1" + bytes(900), "script.sh": b"#!/bin/sh\nrm -rf ~\n",
        "drawing.eps": POSTSCRIPT, "drawing.ps": POSTSCRIPT.replace(b" EPSF-3.0", b""),
        "dos.eps": b"\xc5\xd0\xd3\xc6" + (30).to_bytes(4, "little") + bytes(22) + POSTSCRIPT,
        "image.pickle": pickle.dumps({"pixels": list(range(99))}), "drawing.mvg": MVG,
        "bitmap.xbm": b"#define x_width 64\n#define x_height 64\nstatic char x_bits[] = { 0x00 };\n"}
    for name, data in files.items():
        yield refused(name, data, *NAMED)
        yield refused(f"{name}.jpg", data, *NAMED)


def svg() -> Iterator[Hostile]:
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    head = '<?xml version="1.0"?>'
    drawings = {
        "laughs": f'{head}<!DOCTYPE svg [<!ENTITY l0 "ha">{laughs}]><svg>&l9;</svg>',
        "file": f'{head}<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg>&x;</svg>',
        "fetch": '<svg><image href="http://169.254.169.254/latest/meta-data/"/></svg>',
        "script": '<svg onload="alert(1)"><script>alert(1)</script></svg>'}
    for name, text in drawings.items():
        for ending in ("svg", "jpg", "png"):
            yield refused(f"{name}.{ending}", text.encode(), *NAMED)


def empties() -> Iterator[Hostile]:
    yield refused("empty", b"", "empty")
    yield refused("one-byte", b"\xff", "unrecognised")
    yield refused("jpeg-magic", b"\xff\xd8\xff\xe0", "truncated")
    yield refused("png-magic", b"\x89PNG\r\n\x1a\n", "truncated")
    yield refused("webp-magic", b"RIFF\0\1\0\0WEBPVP8 ", "truncated")
    yield refused("zeros", bytes(100_000), "unrecognised")
    yield refused("ones", b"\xff" * 100_000, "unrecognised")
    rng = np.random.default_rng(9)
    for number in range(3):
        yield refused(f"random-{number}", b"\x9d" + rng.bytes(100_000), "unrecognised")
    yield refused("over-50-mb", bytes(50_000_001), "too_large_file")


def polyglots() -> Iterator[Hostile]:
    """Two files in one. Where the photo is whole it is taken, and the other file does not come along."""
    jpeg, plain_png = saved(textured(), "JPEG"), saved(textured())
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("run.sh", "echo here")
    yield accepted("jpeg-and-zip", jpeg + packed.getvalue())
    yield accepted("jpeg-and-10-mb", jpeg + b"\x5a" * 10_000_000)
    php = b"<?php system($_GET['c']); ?>"
    yield accepted("jpeg-and-php", jpeg[:2] + b"\xff\xfe" + (len(php) + 2).to_bytes(2, "big") + php + jpeg[2:])
    rows = (b"\0" + bytes(192)) * 64
    yield accepted("png-and-html", png(64, 64, 8, 2, rows, chunk(b"tEXt", b"Comment\0<script>alert(1)</script>")))
    yield refused("gif-and-javascript", b"GIF89a/*" + bytes(60) + b"*/=1;alert(1)", *NAMED)
    yield refused("pdf-and-jpeg", b"%PDF-1.7\n" + jpeg, *NAMED)
    yield accepted("jpeg-and-jpeg", jpeg + saved(textured(64, 64), "JPEG"))
    yield accepted("png-and-jpeg", plain_png + jpeg)
