"""The doctor's questions to the places where things are kept: database, stores, and what sellers may write to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from storage.errors import StorageError, StoreUnavailable
from storage.examine import DatabaseFacts, damage, examine, file_of, network_file_system
from storage.probe import probe
from storage.redaction import redacted
from storage.s3_names import is_s3
from storage.settings import Settings
from tasks.diagnosis import Line, broken, failed, ok, warning
from tasks.doctor_machine import folder_of, nearest

CLOCK_SECONDS = 5.0
"""spec/reliability.md 6.4: leases are told by the database's clock, so a difference harms logs and tokens first."""

_REMEDIES = {
    "conditional_create": "Nothing needs mending for one site; S3, Ceph and newer MinIO-like servers honour it",
    "list_after_write": "Ask whoever runs the server about consistency; do not rely on `backlot verify` meanwhile",
    "ranged_read": "Nothing needs mending today",
    "delete": "Allow s3:DeleteObject below this prefix, and delete what is left behind",
    "free_space": "Make room, or name another folder",
}


def database(settings: Settings) -> Sequence[Line]:
    """Kind, version, tables, clock; for a SQLite file also where it lies. Raises what the database raises."""
    file = file_of(settings.database_url)
    if file is not None:
        if kind := network_file_system(nearest(file.parent)):
            return [failed("database", f"{file} lies on a network file system ({kind}), where SQLite's writers do not "
                           "see each other", "Move it to a local disk, or use PostgreSQL")]
        if not file.exists():
            return [_not_yet("database", file, "SQLite")]
    try:
        facts = examine(settings.database_url)
    except Exception as error:
        return [_unanswered(error)]
    return list(_told(facts))


def _unanswered(error: Exception) -> Line:
    """Only what the driver says: SQLAlchemy adds the statement."""
    if hasattr(error, "remedy"):
        return broken("database", error)
    said = " ".join(str(getattr(error, "orig", None) or error).split())[:300]
    return failed("database", f"it cannot be asked ({said})", "Start it, or correct BACKLOT_DATABASE_URL")


def _told(facts: DatabaseFacts) -> Iterator[Line]:
    where = f"{facts.server} at {facts.url}"
    if facts.may_not is not None:
        yield failed("database", f"{where}: its user may not {facts.may_not}",
                     "Give it a database of its own: CREATE DATABASE backlot OWNER its-user")
    elif facts.version is None:
        yield ok("database", f"{where}, without tables yet: the first run makes them")
    elif not facts.known:
        yield failed("database", f"{where}, tables of version {facts.version}, which this version of Backlot does not "
                     "know", "Update Backlot, or name another database in BACKLOT_DATABASE_URL")
    elif facts.version != facts.wanted:
        yield failed("database", f"{where}, tables of version {facts.version}, and {facts.wanted} is needed",
                     "backlot db upgrade")
    else:
        yield ok("database", f"{where}, tables of version {facts.version}, answers in {facts.seconds * 1000:.1f} ms")
    if facts.wal is False:
        yield failed("database", "SQLite's write-ahead log cannot be used here, so that readers and writers would "
                     "block each other", "Move the file to a local disk, or use PostgreSQL")
    if facts.clock_ahead is not None:
        yield _clock(facts.clock_ahead)


def _clock(ahead: float) -> Line:
    if abs(ahead) > CLOCK_SECONDS:
        return warning("clock", f"the database's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} "
                       "this machine's", "Set both by NTP; S3 refuses requests from 15 minutes on")
    return ok("clock", f"the database's and this machine's agree within {CLOCK_SECONDS:g} s")


def integrity(settings: Settings) -> Sequence[Line]:
    """SQLite's own check of its file; nothing for PostgreSQL, where there is no file yet, or for a url that is none,
    which `database` tells."""
    try:
        file = file_of(settings.database_url)
    except StorageError:
        return []
    if file is None or not file.exists():
        return []
    try:
        found = damage(settings.database_url)
    except Exception as error:
        found = str(getattr(error, "orig", None) or error)
    if found:
        return [failed("integrity", f"SQLite finds {file} damaged: {found}"[:400],
                       "Stop all workers and restore a backup; stored pictures are not touched by this")]
    return [ok("integrity", "SQLite finds its file sound")]


def store(settings: Settings, setting: Literal["artifacts_url", "outputs_url"]) -> Sequence[Line]:
    """Write, read and delete a small object there. Raises StorageError where that fails."""
    about, url = setting.removesuffix("_url"), str(getattr(settings, setting))
    folder = folder_of(url)
    if folder is None and not is_s3(url):
        return [failed(about, f"{redacted(url)} is neither a folder nor s3://bucket/prefix",
                       f"Correct BACKLOT_{setting.upper()}")]
    if folder is not None and not folder.exists():
        return [_not_yet(about, folder, "a folder")]
    try:
        found = probe(url, setting, s3_endpoint_url=settings.s3_endpoint_url)
    except StoreUnavailable as error:
        said = str(error).removesuffix(error.remedy).rstrip(" .")
        return [failed(about, said, "Look whether it is up, and at BACKLOT_S3_ENDPOINT_URL and the network")]
    lines = []
    for one in found.capabilities:
        if not one.ok:
            tell = failed if one.needed else warning
            lines.append(tell(about, f"{url}: {one.why}", _REMEDIES.get(one.name, "Use a local disk or S3")))
    able = ", ".join(one.name.replace("_", " ") for one in found.capabilities if one.ok)
    return [*lines, ok(about, f"{url}: {able}")] if found.usable else lines


def _not_yet(about: str, path: Path, what: str) -> Line:
    """What the first run will make. Tried above it, so that the doctor leaves nothing behind."""
    above = nearest(path.parent)
    probe(str(above), f"{about}_url")
    return ok(about, f"{what} at {path}, not there yet: the first run makes it")


def inputs(settings: Settings) -> Sequence[Line]:
    """Sellers must not be able to write where results lie: a result that they replaced would be delivered to another
    (spec/reliability.md 0.1)."""
    ours = {name: str(getattr(settings, name)) for name in ("artifacts_url", "outputs_url")}
    shared = [f"{theirs} and BACKLOT_{name.upper()}={url}" for name, url in ours.items()
              for theirs in (*settings.input_buckets, *map(str, settings.input_roots)) if _overlap(theirs, url)]
    if shared:
        return [warning("inputs", f"share a place with results: {'; '.join(shared)}",
                        "Give results a bucket or folder of their own, to which no seller may write")]
    told = [*(f"s3://{one}" for one in settings.input_buckets), *map(str, settings.input_roots)]
    return [ok("inputs", f"photos may come from {', '.join(told)}" if told else
               "documents may name https:// photos; no bucket and no folder is allowed")]


def _overlap(theirs: str, url: str) -> bool:
    """Does one lie in the other? theirs: bucket or bucket/prefix, or a folder; by whole parts of the path."""
    if is_s3(url):
        if theirs.startswith("/"):
            return False
        one, other = ([part for part in name.split("/") if part] for name in (theirs, url[len("s3://"):]))
        return one[:len(other)] == other[:len(one)]
    folder = folder_of(url)
    if folder is None or not theirs.startswith("/"):
        return False
    root, folder = Path(theirs).resolve(), folder.resolve()
    return root.is_relative_to(folder) or folder.is_relative_to(root)
