"""Questions that an operator asks of a database, put without changing anything and without patience: tried once."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, select, text

from storage.dialect import now
from storage.engine import database_url, make_engine, reading, server, shown, sqlite_file
from storage.schema import REVISIONS, is_new, schema_version
from storage.tables import metadata

_NETWORKED = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "beegfs",
                        "fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse", "fuse.rclone", "fuse.mount-s3", "fuse.glusterfs"})
"""Types of file systems that several machines share: SQLite's WAL needs memory that all its processes share
(https://sqlite.org/wal.html, "Disadvantages")."""


@dataclass(frozen=True, kw_only=True)
class DatabaseFacts:
    """server: kind and version. url: without its password. version, wanted: of the tables; version is None where there
    are none yet. seconds: of one question and its answer. clock_ahead: seconds by which the database's clock is ahead
    of this machine's, None where it is the same clock. wal: None where it is not SQLite."""

    server: str
    url: str
    version: str | None
    wanted: str
    known: bool
    seconds: float
    clock_ahead: float | None
    wal: bool | None
    may_not: str | None = None
    """What its user may not do there, in words; None where nothing is missing. Of SQLite nothing is asked."""


def examine(url: str) -> DatabaseFacts:
    """Raises SQLAlchemy's errors where it does not answer, StorageError for a url that is none."""
    engine = make_engine(url)
    sqlite = engine.dialect.name == "sqlite"
    try:
        named = server(engine)  # the first question also connects
        with reading(engine).begin() as connection:
            begun, here = time.monotonic(), time.time()
            there = connection.execute(select(now())).scalar_one()
            seconds = time.monotonic() - begun
            wal = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal" if sqlite else None
            may_not = None if sqlite else _missing_rights(connection)
        version = None if is_new(engine) else schema_version(engine)
        return DatabaseFacts(
            server=named, url=shown(engine.url), version=version, wanted=REVISIONS[-1], known=version in REVISIONS,
            seconds=seconds, clock_ahead=None if sqlite else _ahead(there, here, here + seconds), wal=wal,
            may_not=may_not)
    finally:
        engine.dispose()


def _missing_rights(connection: Connection) -> str | None:
    """From PostgreSQL 15 on, only a database's owner may make tables in its schema public."""
    schema, may_make = connection.exec_driver_sql(
        "SELECT current_schema(), has_schema_privilege(current_schema(), 'CREATE')").one()
    if schema is None:
        return "use any schema of its search_path"
    if not may_make:
        return f"make tables in the schema {schema}"
    kept = [table.name for table in metadata.sorted_tables]
    closed = connection.execute(text(
        "SELECT min(tablename) FROM pg_tables, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS wanted "
        "WHERE schemaname = :schema AND tablename = ANY(:kept) AND NOT "
        "has_table_privilege(format('%I.%I', schemaname, tablename), wanted)"),
        {"schema": schema, "kept": kept}).scalar()
    return None if closed is None else f"read and write the table {closed}"


def _ahead(there: int, asked: float, answered: float) -> float:
    """`there` is in whole seconds and was read some time between: 0 where such a clock could be the same as ours."""
    return max(0.0, there - answered) or min(0.0, there + 1 - asked)


def file_of(url: str) -> Path | None:
    """The file behind a SQLite url, which may not be there yet; None for another database. Raises StorageError."""
    known = database_url(url)
    return sqlite_file(known) if known.get_backend_name() == "sqlite" else None


def damage(url: str) -> str | None:
    """What SQLite's own check finds wrong with its file, None where nothing is. Reads all of it: 1 GB a second where it
    is cached (2026-11-21)."""
    engine = make_engine(url)
    try:
        with reading(engine).begin() as connection:
            found = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA quick_check(3)")]
    finally:
        engine.dispose()
    return None if found == ["ok"] else "; ".join(" ".join(text.split()) for text in found)


def network_file_system(folder: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str | None:
    """The type of the file system below `folder` where other machines share it, else None; None where the system does
    not say. mounts: as Linux writes it (proc(5))."""
    if not mounts.exists():
        return None
    best: tuple[int, str] = (0, "")
    for line in mounts.read_text(errors="replace").splitlines():
        before, _, after = line.partition(" - ")
        point = before.split()[4].encode().decode("unicode_escape")  # a space is written \040
        if folder.resolve().is_relative_to(point):
            best = max(best, (len(point), after.split()[0]), key=lambda one: one[0])
    return best[1] if best[1] in _NETWORKED else None
