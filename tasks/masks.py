"""Masks that a person sets for a photo: the file in, the version out, and which one a job uses."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from models.errors import InputError, PhotoRefused
from models.mask import grey_png, mask_of
from models.photos import READER, DecodedPhoto
from models.pictures import Size
from storage.digests import is_hex
from storage.errors import MaskLost, SourceError
from storage.files import NotPlain, put_local
from storage.masks import SHORTEST, MaskRow
from storage.records import Artifact
from storage.redaction import redacted
from storage.settings import Settings
from storage.sources import read_source
from tasks.run_pass import put_picture
from tasks.services import Services


def set_mask(here: Services, photo: str, mask: Path, note: str) -> tuple[MaskRow, tuple[str, ...]]:
    """Make the file `mask` the next version of the photo's mask; the row, and what should be told of the file, in
    clauses: what its decoder had to say, and whether it was scaled.

    photo: a path, uri or digest. Raises, in one line, SourceError or PhotoRefused for the photo and InputError (field
    `MASK`) for the mask.
    """
    of = _photo(here, photo)
    decoded = _decoded(here, mask)
    picture, scaled = mask_of(decoded, Size(of.height, of.width), name=str(mask))
    return here.masks.set(of, put_picture(here, picture), note), (*decoded.warnings, *([scaled] if scaled else ()))


def remove_mask(here: Services, photo: str) -> MaskRow:
    return here.masks.remove(_photo(here, photo).digest)


def masks(here: Services, photo: str | None) -> list[MaskRow]:
    """Every version of every photo's mask, or of one photo's."""
    return here.masks.versions(None if photo is None else _photo(here, photo).digest)


def save_mask(here: Services, photo: str, out: Path) -> MaskRow | None:
    """Write the mask that counts for the photo to `out`, an 8-bit grey PNG; None, and nothing written, without one.

    Raises InputError (field `OUT`) where `out` cannot be written; what was there before then stays.
    """
    row = here.masks.of(_photo(here, photo).digest)
    if row is None:
        return None
    data = grey_png(here.picture(row.mask))
    try:
        _put(Path(os.path.realpath(out)), data)  # through a link, as any program writes
    except OSError as error:
        raise InputError(f"cannot be written ({error.strerror})", field="OUT", value=str(out),
                         remedy="Name a file in a folder that can be written") from error
    return row


def _put(out: Path, data: bytes) -> None:
    if out.exists() and not out.is_file():  # a folder; or a device, which the move would replace
        raise NotPlain(errno.EINVAL, "it is no plain file")
    put_local(out, data)


def mask_for(here: Services, photo: Artifact) -> Artifact | None:
    """What cut_out takes instead of matting. Raises MaskLost where the mask's bytes are gone: to matte silently, what a
    person has masked because the matte was wrong, would be the one thing not wanted."""
    row = here.masks.of(photo.digest)
    if row is None:
        return None
    if not here.store.intact(row.mask.digest):
        raise MaskLost(row.mask.digest, row.version)
    return row.mask


def _decoded(here: Services, mask: Path) -> DecodedPhoto:
    """The mask as it is stored: its numbers are alpha, and no colours. Raises InputError, as mask_of does for what is
    a picture and no mask: the errors of photos would name the photo's field, and formats that a mask cannot have."""
    try:
        source = read_source(str(mask.absolute()), settings=_as_typed(here.settings))
        return here.gate.decode(source.data, name=mask.name, managed=False)
    except (SourceError, PhotoRefused) as error:
        raise InputError(error.message, field="MASK", value=str(mask), remedy="Give the path of a PNG of the upright "
                         "photo: grey, white where the product is, or with alpha") from error


def _photo(here: Services, photo: str) -> Artifact:
    """The photo as jobs read it: of a path or uri what its bytes are decoded to now."""
    if len(photo) >= SHORTEST and is_hex(photo) and not Path(photo).exists():
        return here.masks.photo(photo)
    image = photo if "://" in photo else str(Path(photo).absolute())
    source = read_source(image, settings=_as_typed(here.settings))
    known = here.ledger.known_source(source.digest, READER)
    if known is not None and here.store.intact(known.artifact.digest):
        return known.artifact
    return put_picture(here, here.gate.decode(source.data, name=redacted(image)).picture)


def _as_typed(settings: Settings) -> Settings:
    """Whoever types a command may read any path."""
    return settings.model_copy(update={"input_roots": (Path("/"),)})
