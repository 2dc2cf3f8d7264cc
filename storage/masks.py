"""Masks that a person set for a photo: facts and questions about them. Versions are added, never overwritten."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, insert, select, update

from storage.database import Database, reads, writes
from storage.dialect import now
from storage.digests import is_hex
from storage.errors import MaskNotFound
from storage.records import Artifact
from storage.rows import ARTIFACT, AnyRow, know_artifacts, to_artifact
from storage.tables import artifact as artifacts
from storage.tables import mask_override, source_observation
from storage.words import told

SHORTEST = 8
"""Letters of a digest that may stand for all of it, as `backlot lineage` takes them."""


@dataclass(frozen=True, kw_only=True)
class MaskRow:
    """One version of a photo's mask. mask: what is stored, of the photo's size. Times are unix seconds of the
    database's clock; removed_at: None where nobody removed it."""

    photo_digest: str
    version: int
    mask: Artifact
    note: str
    created_at: int
    removed_at: int | None


class Masks:
    """A photo's mask is its newest version, unless that was removed. Safe for many threads and processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @writes
    def set(self, connection: Connection, photo: Artifact, mask: Artifact, note: str) -> MaskRow:
        """Make `mask` the photo's next version; the row. The very mask that counts already, with the same note, stays
        the version it is: so a call whose answer was lost may be made again."""
        newest = _newest(connection, photo.digest)
        if (newest is not None and newest.removed_at is None
                and (newest.mask.digest, newest.note) == (mask.digest, told(note))):
            return newest
        know_artifacts(connection, [photo, mask])
        version = 1 if newest is None else newest.version + 1
        connection.execute(insert(mask_override).values(
            photo_digest=photo.digest, version=version, mask_digest=mask.digest, note=told(note), created_at=now()))
        return _to_row(connection.execute(_rows().where(
            mask_override.c.photo_digest == photo.digest, mask_override.c.version == version)).one())

    @writes
    def remove(self, connection: Connection, photo_digest: str) -> MaskRow:
        """Let the photo be matted again; the version that counted last. Removing it twice is removing it once. Raises
        MaskNotFound where the photo never had a mask."""
        newest = _newest(connection, photo_digest)
        if newest is None:
            raise MaskNotFound(photo_digest, "has no mask")
        connection.execute(update(mask_override).where(
            mask_override.c.photo_digest == photo_digest, mask_override.c.version == newest.version,
            mask_override.c.removed_at.is_(None)).values(removed_at=now()))
        return newest

    @reads
    def of(self, connection: Connection, photo_digest: str) -> MaskRow | None:
        """The mask that counts for this photo now."""
        newest = _newest(connection, photo_digest)
        return newest if newest is not None and newest.removed_at is None else None

    @reads
    def versions(self, connection: Connection, photo_digest: str | None = None) -> list[MaskRow]:
        """Every version of every photo's mask, or of one photo's; each photo's newest first."""
        asked = _rows().order_by(mask_override.c.photo_digest, mask_override.c.version.desc())
        if photo_digest is not None:
            asked = asked.where(mask_override.c.photo_digest == photo_digest)
        return [_to_row(row) for row in connection.execute(asked)]

    @reads
    def photo(self, connection: Connection, digest: str) -> Artifact:
        """The photo of this digest, or of a digest that begins so (SHORTEST letters at least). Raises MaskNotFound
        where no job read such a photo and no mask was set for one, or where several begin so."""
        if len(digest) < SHORTEST or not is_hex(digest):
            raise MaskNotFound(digest, "is no digest of a photo")
        photos = select(source_observation.c.digest).union(select(mask_override.c.photo_digest)).subquery()
        found = connection.execute(select(*ARTIFACT).where(
            artifacts.c.digest.startswith(digest), artifacts.c.digest.in_(select(photos.c.digest))).limit(2)).all()
        if len(found) != 1:
            raise MaskNotFound(digest, "begins several photos' digests" if found else "is no photo that was ever read")
        return to_artifact(found[0])


def versions_of(connection: Connection, digests: Collection[str]) -> dict[str, tuple[int, ...]]:
    """Of a job's inputs those that are masks of its photo: mask digest -> which versions have these bytes."""
    found: dict[str, tuple[int, ...]] = {}
    for mask, version in connection.execute(
            select(mask_override.c.mask_digest, mask_override.c.version)
            .where(mask_override.c.photo_digest.in_(digests), mask_override.c.mask_digest.in_(digests))
            .order_by(mask_override.c.version)):
        found[mask] = (*found.get(mask, ()), version)
    return found


def _rows() -> Select[Any]:
    columns = (mask_override.c.photo_digest, mask_override.c.version, mask_override.c.note,
               mask_override.c.created_at, mask_override.c.removed_at)
    return select(*columns, *ARTIFACT).join_from(mask_override, artifacts,
                                                 mask_override.c.mask_digest == artifacts.c.digest)


def _newest(connection: Connection, photo_digest: str) -> MaskRow | None:
    row = connection.execute(_rows().where(mask_override.c.photo_digest == photo_digest)
                             .order_by(mask_override.c.version.desc()).limit(1)).one_or_none()
    return None if row is None else _to_row(row)


def _to_row(row: AnyRow) -> MaskRow:
    return MaskRow(photo_digest=row.photo_digest, version=row.version, mask=to_artifact(row), note=row.note,
                   created_at=row.created_at, removed_at=row.removed_at)
