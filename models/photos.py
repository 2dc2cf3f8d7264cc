"""A photo's bytes become a picture: upright, 8-bit sRGB, alpha only where it is real. The door for foreign files.

JPEG, PNG and WebP only, by content and whatever the name says; every other format, and with it Ghostscript and the
like, is never reached. Metadata is read for orientation and colour and then dropped. A file that decodes only in part
is refused, never repaired. Imports neither torch nor OpenCV: models/photo_worker.py runs it in a child process.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from models.colour import alpha_of, to_srgb
from models.errors import PhotoRefused
from models.photo_bytes import end_of_picture, webp_size, what_it_is

if TYPE_CHECKING:
    from models.pictures import Picture  # would load OpenCV

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
MAX_TAIL = 1_000_000
"""More bytes than this behind the picture are worth a warning; cameras and phones put previews and clips there."""

VERDICTS = {
    "empty": "no bytes at all",
    "too_large_file": "more than 50 MB",
    "unsupported_format": "a file of another kind, named in the message",
    "unrecognised": "nothing that is known here",
    "truncated": "a JPEG, PNG or WebP that ends before its picture does",
    "broken": "a JPEG, PNG or WebP whose contents contradict the format",
    "too_many_pixels": "more than 50 megapixels by its header",
    "side_too_long": "a side of more than 20,000 pixels by its header",
    "too_small": "a side of fewer than 64 pixels",
    "metadata_bomb": "texts or a colour profile that unpack to more than a decoder should hold",
    "decoder_crash": "the process that decodes died of it, twice",
    "too_slow": "decoding used up its time, or twice did not answer",
    "too_much_memory": "decoding went over its memory, twice",
}
"""Every reason for which a photo is refused, as PhotoRefused.code. The last three are the gate's (tasks/gate.py)."""

UPRIGHT = {
    2: (False, False, True), 3: (False, True, True), 4: (False, True, False), 5: (True, False, False),
    6: (True, True, False), 7: (True, True, True), 8: (True, False, True)}
"""EXIF orientation -> how the upright picture is read to give the rows as stored: are rows and columns swapped, and
then rows taken from the last, columns from the last (CIPA DC-008, 4.6.5.1.6). 1 is upright."""

_BAND_PIXELS = 1 << 16
"""Small enough that the allocator uses the same memory for each band: a 2 MP JPEG takes 10 ms, and 24 ms in bands of a
megapixel, each of which it would ask of the system anew (one core, 2026-11-21)."""
_MOST_NOTES, _LONGEST_NOTE = 12, 160
_UNPACKS_TOO_FAR = ("Decompressed data too large", "Too much memory used in text chunks")
"""How Pillow 13 words its refusal of texts and profiles over PngImagePlugin.MAX_TEXT_CHUNK and MAX_TEXT_MEMORY."""

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


def decode_photo(data: bytes, *, name: str, managed: bool = True) -> DecodedPhoto:
    """Decode a photo of at most 50 MB, 50 megapixels, sides of 64 to 20,000 pixels; `name` is for messages.

    Sizes are checked from the header, before pixels are decoded. 16-bit channels are scaled to 8; of an animation the
    first frame is taken, with a warning. managed: by the colour profile it carries; False for a mask, whose numbers are
    alpha and no colours. Raises PhotoRefused, with a code of VERDICTS, for everything that cannot be a photo.
    Decodes in this process: for files of strangers use tasks/gate.py.
    """
    check_bytes(data, name)
    notes: list[str] = []
    with _pillow_warnings(notes):
        opened = _open(data, name)
        _check_end(opened, data, name)
        _check_size(opened.size, name)
        picture = _pixels(opened, data, name, notes, managed)
    kind = "JPEG" if opened.format == "MPO" else str(opened.format)
    return DecodedPhoto(picture=picture, warnings=_brief([*_about_file(opened, data, kind, name), *notes]), format=kind,
                        width=opened.width, height=opened.height)


def check_bytes(data: bytes, name: str) -> None:
    """Raises PhotoRefused where there are no bytes, or more than 50 MB."""
    if not data:
        raise PhotoRefused("empty", "the file is empty", name=name, remedy="Send a photo")
    if len(data) > MAX_BYTES:
        raise PhotoRefused("too_large_file", f"the file has {len(data):,} bytes, and at most {MAX_BYTES:,} are read",
                           name=name, remedy="Send a smaller or more compressed photo")


def _open(data: bytes, name: str) -> Image.Image:
    """The file's header, understood; no pixels yet."""
    if (size := webp_size(data)) is not None:
        _check_size(size, name)
    try:
        return Image.open(io.BytesIO(data), formats=tuple(FORMATS))
    except MemoryError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels(str(error).partition(" exceeds")[0].lower(), name) from error
    except UnidentifiedImageError as error:
        shape, text = what_it_is(data)
        if shape == "photo":
            raise _broken(text + " and cannot be read", data, name) from error
        code = "unsupported_format" if shape == "other" else "unrecognised"
        raise PhotoRefused(code, text, name=name, remedy=_SAVE_AGAIN) from error
    except Exception as error:  # a decoder may raise anything on hostile bytes; whatever it is, the file is at fault
        raise _broken(error, data, name) from error


def _check_end(opened: Image.Image, data: bytes, name: str) -> None:
    """Pillow forgives a PNG whose last chunks are cut off; JPEG and WebP it refuses by itself."""
    if opened.format == "PNG" and end_of_picture(data) is None:
        raise _broken("its last chunk is missing", data, name)


def _check_size(size: tuple[int, int], name: str) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise _too_many_pixels(f"{width} x {height}", name)
    if max(width, height) > MAX_SIDE:
        raise PhotoRefused("side_too_long", f"the photo is {width} x {height}, and no side may be over {MAX_SIDE:,} "
                           "pixels", name=name, remedy="Crop it or scale it down")
    if min(width, height) < MIN_SIDE:
        raise PhotoRefused("too_small", f"the photo is {width} x {height}, and both sides must be at least {MIN_SIDE} "
                           "pixels", name=name, remedy="Send a larger photo")


def _pixels(opened: Image.Image, data: bytes, name: str, notes: list[str], managed: bool) -> Picture:
    """Decoded, in sRGB if `managed`, and upright.

    Band by band into the finished picture, so that 50 megapixels take twice their own size and not five times.
    """
    try:
        opened.load()
        swapped, rows_back, columns_back = _orientation(opened, notes)
        convert = to_srgb(opened, notes, managed=managed)
        height, width = (opened.width, opened.height) if swapped else (opened.height, opened.width)
        picture: Picture = np.empty((height, width, 4 if _shows_through(opened) else 3), np.uint8)
        as_stored = picture.swapaxes(0, 1) if swapped else picture
        as_stored = as_stored[::-1 if rows_back else 1, ::-1 if columns_back else 1]
        for top, band in _bands(opened):
            as_stored[top:top + band.height] = np.asarray(convert(band))[:, :, :picture.shape[2]]
    except MemoryError:
        raise
    except Exception as error:  # as in _open
        raise _broken(error, data, name) from error
    return picture


def _bands(opened: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Its rows from the top, some at a time, each with the first row's number."""
    rows = max(1, _BAND_PIXELS // opened.width)
    for top in range(0, opened.height, rows):
        yield top, opened.crop((0, top, opened.width, min(top + rows, opened.height)))


def _shows_through(opened: Image.Image) -> bool:
    """Is any pixel not opaque?"""
    alphas = (alpha_of(band) for _, band in _bands(opened))
    return any(alpha is not None and alpha.getextrema()[0] != 255 for alpha in alphas)


def _orientation(opened: Image.Image, notes: list[str]) -> tuple[bool, bool, bool]:
    """The turn of UPRIGHT that the file asks for; none where it is upright or does not say so intelligibly."""
    upright = (False, False, False)
    try:
        orientation = opened.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # metadata alone never refuses a photo; and what Pillow says of it quotes its bytes
        notes.append("its EXIF data cannot be read: taken as upright")
        return upright
    if orientation not in (1, *UPRIGHT):
        shown = orientation if isinstance(orientation, int) else "no number"  # else the file's own words would be told
        notes.append(f"its EXIF orientation is {shown}, which means nothing: taken as upright")
    return UPRIGHT.get(orientation, upright)


def _about_file(opened: Image.Image, data: bytes, kind: str, name: str) -> list[str]:
    notes = []
    frames = getattr(opened, "n_frames", 1)
    if frames > 1:
        notes.append(f"it has {frames} frames; the first was taken")
    ending = PurePosixPath(name).suffix.lower()
    if ending not in FORMATS[kind] and any(ending in endings for endings in FORMATS.values()):
        notes.append(f"its name ends in {ending}, and it is a {kind}")
    if len(data) > MAX_TAIL and opened.format != "MPO":  # of which the other pictures are the tail
        tail = len(data) - (end_of_picture(data) or len(data))
        if tail > MAX_TAIL:
            notes.append(f"{tail:,} bytes behind the picture were left aside")
    return notes


def _brief(notes: list[str]) -> tuple[str, ...]:
    """Notes as they may be shown: a file's own words and numbers are in them, so they are cut short and printable."""
    texts = [ascii(note)[1:-1] if not (note.isascii() and note.isprintable()) else note for note in notes]
    short = [text if len(text) <= _LONGEST_NOTE else text[:_LONGEST_NOTE - 3] + "..." for text in texts]
    more = [f"and {len(short) - _MOST_NOTES:,} more notes"] if len(short) > _MOST_NOTES else []
    return (*short[:_MOST_NOTES], *more)


def _too_many_pixels(size: str, name: str) -> PhotoRefused:
    return PhotoRefused("too_many_pixels", f"the photo has more than {MAX_PIXELS // 1_000_000} megapixels ({size})",
                        name=name, remedy="Scale it down")


def _broken(why: Exception | str, data: bytes, name: str) -> PhotoRefused:
    [detail] = _brief([str(why)])
    if detail.startswith(_UNPACKS_TOO_FAR):
        return PhotoRefused("metadata_bomb", f"its metadata unpacks without end ({detail})", name=name,
                            remedy=_SAVE_AGAIN)
    code, text = ("truncated", "cut off") if end_of_picture(data) is None else ("broken", "broken")
    return PhotoRefused(code, f"the file is {text} ({detail})", name=name, remedy=_FETCH_AGAIN)


_one_at_a_time = Lock()


@contextmanager
def _pillow_warnings(notes: list[str]) -> Generator[None]:
    """Turn warnings raised inside into notes; none reaches the console. A warning of a bomb is an error.

    Python keeps its warning filters for the whole process, so two decoders that saved and restored them crosswise
    would leave them changed: one at a time.
    """
    with _one_at_a_time, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield
        notes.extend(dict.fromkeys(str(warning.message) for warning in caught))
