"""A photo's bytes become a picture: upright, 8-bit sRGB, alpha only where it is real. The door for foreign files.

JPEG, PNG and WebP only, by content and whatever the name says; every other format, and with it Ghostscript and the
like, is never reached. Metadata is read for orientation and colour and then dropped. A file that decodes only in part
is refused, never repaired.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from threading import Lock

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from models.colour import to_srgb
from models.errors import InputError
from models.pictures import Picture

READER = "photos-1"
"""Names this reader in lineage: the same bytes give the same picture while it stays. Raise it when pixels change."""

FORMATS = {"JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"), "PNG": (".png", ".apng"), "WEBP": (".webp",)}
"""What is read, by Pillow's names, with the endings such files carry."""

# The limits are spec/reliability.md 5.2's; Pillow's own begin only at 89 megapixels.
MAX_BYTES = 50_000_000
MAX_PIXELS = 50_000_000
"""As RGBA this is 200 MB; medium-format cameras end near it, bombs begin far above."""
MAX_SIDE = 20_000
MIN_SIDE = 64
"""Below this there is no product to see, and the smallest profile's models take no less."""

UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90}
"""EXIF orientation -> what turns the stored rows upright (CIPA DC-008, 4.6.5.1.6). 1 is upright."""

SIGNATURES = (
    (b"GIF8", "a GIF"), (b"II*\0", "a TIFF"), (b"MM\0*", "a TIFF"), (b"BM", "a BMP"), (b"8BPS", "a Photoshop file"),
    (b"%PDF", "a PDF"), (b"%!PS", "PostScript"), (b"PK\3\4", "a ZIP archive"), (b"\0\0\1\0", "an icon"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000"), (b"<svg", "an SVG"), (b"<?xml", "XML, perhaps an SVG"), (b"<", "HTML or XML"))
"""First bytes of what is commonly sent instead, for the message only."""

PNG_END = b"IEND\xaeB`\x82"
"""The closing chunk's name and check sum (PNG, third edition, 11.2.4): the same in every PNG."""

_SAVE_AGAIN = "Save it again as JPEG, PNG or WebP"
_FETCH_AGAIN = "Fetch the original once more, or save it again as JPEG, PNG or WebP"


@dataclass(frozen=True, kw_only=True)
class DecodedPhoto:
    """picture: uint8 (height, width, 3), or 4 with straight alpha where any pixel is not opaque; sRGB, upright.

    warnings: what a user should be told of the photo, each a clause. format: JPEG, PNG or WEBP, by content. width and
    height: as stored, before turning upright.
    """

    picture: Picture
    warnings: tuple[str, ...]
    format: str
    width: int
    height: int


def decode_photo(data: bytes, *, name: str) -> DecodedPhoto:
    """Decode a photo of at most 50 MB, 50 megapixels, sides of 64 to 20,000 pixels; `name` is for messages.

    Sizes are checked from the header, before pixels are decoded. 16-bit channels are scaled to 8; of an animation the
    first frame is taken, with a warning. Raises InputError, field "image", for everything that cannot be a photo.
    """
    _check_bytes(data, name)
    notes: list[str] = []
    with _pillow_warnings(notes):
        opened = _open(data, name)
        _check_end(opened, data, name)
        _check_size(opened, name)
        picture = _pixels(opened, name, notes)
    kind = "JPEG" if opened.format == "MPO" else str(opened.format)
    return DecodedPhoto(picture=picture, warnings=(*_about_file(opened, kind, name), *notes), format=kind,
                        width=opened.width, height=opened.height)


def _check_bytes(data: bytes, name: str) -> None:
    if not data:
        raise _refusal("the file is empty", name, "Send a photo")
    if len(data) > MAX_BYTES:
        raise _refusal(f"the file has {len(data):,} bytes, and at most {MAX_BYTES:,} are read", name,
                       "Send a smaller or more compressed photo")


def _open(data: bytes, name: str) -> Image.Image:
    """The file's header, understood; no pixels yet."""
    try:
        return Image.open(io.BytesIO(data), formats=tuple(FORMATS))
    except MemoryError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_many_pixels("far more", name) from error
    except UnidentifiedImageError as error:
        raise _refusal(_what_it_is(data), name, _SAVE_AGAIN) from error
    except Exception as error:  # a decoder may raise anything on hostile bytes; whatever it is, the file is at fault
        raise _broken(error, name) from error


def _check_end(opened: Image.Image, data: bytes, name: str) -> None:
    """Pillow forgives a PNG whose last chunks are cut off; JPEG and WebP it refuses by itself."""
    if opened.format == "PNG" and PNG_END not in data:
        raise _refusal("the file is cut off: its last chunk is missing", name, _FETCH_AGAIN)


def _check_size(opened: Image.Image, name: str) -> None:
    width, height = opened.size
    if width * height > MAX_PIXELS:
        raise _too_many_pixels(f"{width} x {height}", name)
    if max(width, height) > MAX_SIDE:
        raise _refusal(f"the photo is {width} x {height}, and no side may be over {MAX_SIDE:,} pixels", name,
                       "Crop it or scale it down")
    if min(width, height) < MIN_SIDE:
        raise _refusal(f"the photo is {width} x {height}, and both sides must be at least {MIN_SIDE} pixels", name,
                       "Send a larger photo")


def _pixels(opened: Image.Image, name: str, notes: list[str]) -> Picture:
    """Decoded, in sRGB and upright."""
    try:
        opened.load()
        turn = _orientation(opened, notes)
        colour = to_srgb(opened, notes)
    except MemoryError:
        raise
    except Exception as error:  # as in _open
        raise _broken(error, name) from error
    pixels: Picture = np.array(colour if turn is None else colour.transpose(turn))
    opaque = pixels.shape[2] == 4 and pixels[:, :, 3].min() == 255
    return pixels[:, :, :3].copy() if opaque else pixels


def _orientation(opened: Image.Image, notes: list[str]) -> Image.Transpose | None:
    """How to turn the stored rows upright; None where they are, or where the file does not say it intelligibly."""
    try:
        orientation = opened.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception as error:  # metadata alone never refuses a photo
        notes.append(f"its EXIF data cannot be read ({error}): taken as upright")
        return None
    if orientation not in (1, *UPRIGHT):
        notes.append(f"its EXIF orientation is {orientation!r}, which means nothing: taken as upright")
    return UPRIGHT.get(orientation)


def _about_file(opened: Image.Image, kind: str, name: str) -> list[str]:
    notes = []
    frames = getattr(opened, "n_frames", 1)
    if frames > 1:
        notes.append(f"it has {frames} frames; the first was taken")
    ending = PurePosixPath(name).suffix.lower()
    if ending not in FORMATS[kind] and any(ending in endings for endings in FORMATS.values()):
        notes.append(f"its name ends in {ending}, and it is a {kind}")
    return notes


def _what_it_is(data: bytes) -> str:
    start = data[:32].lstrip(b"\xef\xbb\xbf \t\r\n")
    if data[4:8] == b"ftyp":
        return "it is a HEIC, AVIF or video file, not a JPEG, PNG or WebP"
    for signature, what in SIGNATURES:
        if start.startswith(signature):
            return f"it is {what}, not a JPEG, PNG or WebP"
    if data.startswith((b"\xff\xd8", b"\x89PNG", b"RIFF")):
        return "it begins like a photo and cannot be read: it is cut off or broken"
    return "it is not a JPEG, PNG or WebP"


def _too_many_pixels(size: str, name: str) -> InputError:
    return _refusal(f"the photo has more than {MAX_PIXELS // 1_000_000} megapixels ({size})", name, "Scale it down")


def _broken(error: Exception, name: str) -> InputError:
    return _refusal(f"the file is cut off or broken ({error})", name, _FETCH_AGAIN)


def _refusal(message: str, name: str, remedy: str) -> InputError:
    return InputError(message, field="image", value=name, remedy=remedy)


_one_at_a_time = Lock()


@contextmanager
def _pillow_warnings(notes: list[str]) -> Generator[None]:
    """Turn warnings raised inside into notes; none reaches the console.

    Python keeps its warning filters for the whole process, so two decoders that saved and restored them crosswise
    would leave them changed: one at a time.
    """
    with _one_at_a_time, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
        notes.extend(dict.fromkeys(str(warning.message) for warning in caught))
