"""Small files that claim, unpack to or repeat far more than they are, and sizes at the edges."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from hostile_case import NAMED, Hostile, accepted, refused
from photo_files import GREY, chunk, jpeg_claiming, png, saved, textured, webp_claiming
from PIL import Image


def zeros(megabytes: int) -> bytes:
    """That many megabytes of nothing, deflated, without ever holding them."""
    packer = zlib.compressobj(1)
    piece = bytes(1_000_000)
    return b"".join([*(packer.compress(piece) for _ in range(megabytes)), packer.flush()])


def header_bombs() -> Iterator[Hostile]:
    """Refused by what their headers claim, before a pixel is decoded."""
    for name, data in (
            ("png-65500", png(65500, 65500, 8, 2)), ("png-one-bit-30000", png(30000, 30000, 1, 0)),
            ("png-9000", png(9000, 9000, 8, 2)), ("png-7072", png(7072, 7072, 8, 2)),
            ("jpeg-65500", jpeg_claiming(65500, 65500)),
            ("jpeg-progressive-9000", jpeg_claiming(9000, 9000, progressive=True)),
            ("webp-12000", webp_claiming(12000, 12000)), ("webp-16383", webp_claiming(16383, 16383)),
            ("webp-canvas", webp_canvas(1 << 24, 1 << 24))):
        yield refused(name, data, "too_many_pixels")


def bombs() -> Iterator[Hostile]:
    yield from header_bombs()
    yield refused("gif-65535", b"GIF89a" + struct.pack("<HH", 65535, 65535) + bytes(40), *NAMED)
    bmp = b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 100000, 100000, 1, 24, *6 * [0])
    yield refused("bmp-100000", bmp, *NAMED)
    yield refused("png-text-200-mb", png(64, 64, 8, 2, extra=chunk(b"zTXt", b"k\0\0" + zeros(200))), "metadata_bomb")
    texts = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(1_000_000))) * 100
    yield refused("png-100-texts", png(64, 64, 8, 2, extra=texts), "metadata_bomb")
    yield refused("png-profile-300-mb", png(64, 64, 8, 2, extra=chunk(b"iCCP", b"k\0\0" + zeros(300))), "metadata_bomb")
    photo = saved(textured(), "JPEG")
    yield refused("jpeg-fill-bytes", photo[:300] + b"\xff" * 300_000, "truncated")
    overlong = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0))
    yield accepted("png-overlong", overlong + chunk(b"IDAT", zeros(100)) + chunk(b"IEND", b""))


def scan_bomb() -> bytes:
    """A progressive JPEG of 30 megapixels that refines the same coefficients in thousands of scans: legal by its
    header, small, and each scan a walk over the whole picture."""
    data = saved(Image.new("L", (6000, 5000)), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * 4000 + data[-2:]


def webp_canvas(width: int, height: int) -> bytes:
    """An extended WebP whose canvas is this large; its picture is not."""
    simple = saved(GREY, "WEBP", lossless=True)
    extended = b"VP8X" + struct.pack("<IB3x", 10, 0) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(
        3, "little")
    body = b"WEBP" + extended + simple[12:]
    return b"RIFF" + struct.pack("<I", len(body)) + body


def animated() -> Iterator[Hostile]:
    gif = saved(Image.new("P", (64, 64)), "GIF")
    picture = gif[gif.index(b"\x2c", 13 + 3):-1]
    yield refused("animation.gif", gif[:-1] + picture * 2999 + b";", *NAMED)
    frames = [Image.new("RGB", (64, 64), (level % 256, level // 2, 9)) for level in range(400)]
    for kind in ("PNG", "WEBP"):
        yield accepted(f"animation.{kind.lower()}",
                       saved(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True))
    yield accepted("several.jpg", saved(frames[0], "MPO", save_all=True, append_images=frames[1:20]))


def metadata() -> Iterator[Hostile]:
    """Odd metadata never refuses a photo: it is left aside."""
    jpeg = saved(textured(), "JPEG")

    def with_segments(*segments: tuple[int, bytes]) -> bytes:
        parts = [b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body for marker, body in segments]
        return jpeg[:2] + b"".join(parts) + jpeg[2:]

    def exif(body: bytes) -> tuple[int, bytes]:
        return 0xE1, b"Exif\0\0II*\0" + body

    comment = struct.pack("<IHHHII", 8, 1, 0x9286, 7, 60_000, 26) + bytes(4) + b"\x41" * 60_000
    yield accepted("exif-60-kb", with_segments(exif(comment)))
    yield accepted("300-segments", with_segments(*[(0xE1, bytes(65_000))] * 300))
    pieces = [(0xE2, b"ICC_PROFILE\0" + bytes([number + 1, 160]) + bytes(65_000)) for number in range(160)]
    yield accepted("profile-10-mb", with_segments(*pieces))
    yield accepted("garbage-profile.jpg", with_segments((0xE2, b"ICC_PROFILE\0\1\1" + b"\x5a" * 3000)))
    yield accepted("garbage-profile.png", saved(textured(), icc_profile=b"\x5a" * 3000))
    loop = struct.pack("<IHHHII", 8, 1, 0x0100, 4, 1, 1) + struct.pack("<I", 8)
    yield accepted("directory-names-itself", with_segments(exif(loop)))
    yield accepted("exif-cut-off", with_segments(exif(struct.pack("<IH", 8, 40))))
    inner = struct.pack("<IHHHII", 8, 1, 0x8769, 4, 1, 8) + bytes(4)
    yield accepted("exif-within-itself", with_segments(exif(inner)))
    xmp = b"http://ns.adobe.com/xap/1.0/\0" + b"<x:xmpmeta>" + b" " * 60_000
    yield accepted("xmp-5-mb", with_segments(*[(0xE1, xmp)] * 85))
    yield accepted("orientation-is-a-text", with_segments(exif(
        struct.pack("<IHHHII", 8, 1, 0x0112, 2, 9000, 26) + bytes(4) + b"ten thousand " * 700)))
    yield accepted("many-bad-tags", with_segments(exif(struct.pack("<IH", 8, 3000) + b"".join(
        struct.pack("<HHII", tag, 3, 90, 0xFFFF) for tag in range(3000)))))


def dimensions() -> Iterator[Hostile]:
    for width, height in ((1, 1), (1, 64), (64, 1), (1, 5000), (5000, 1), (63, 64), (64, 63)):
        yield refused(f"{width}x{height}.png", saved(np.zeros((height, width, 3), np.uint8)), "too_small")
    yield refused("65500x3.jpg", jpeg_claiming(65500, 3), "side_too_long", "too_small")
    yield refused("20001x64.png", png(20001, 64, 8, 2), "side_too_long")
    for name, data in (("0x0.png", png(0, 0, 8, 2)), ("0x64.png", png(0, 64, 8, 2)),
                       ("64x0.jpg", jpeg_claiming(64, 0))):
        yield refused(name, data, "broken", "truncated", "too_small")
    yield accepted("64x64.png", saved(GREY))
    yield accepted("20000x64.png", saved(np.zeros((64, 20000), np.uint8)))
