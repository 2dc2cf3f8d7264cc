"""The checker's look at the store and at what was delivered: every file is listed, and read unless told otherwise."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from fsspec.implementations.local import LocalFileSystem

from storage.digests import sha256_hex
from storage.errors import StorageError, StoreUnavailable
from storage.files import DRAFT, NotPlain, open_files, read_whole
from storage.findings import Finding
from storage.measured import RECORD
from storage.png import png_size, unstamped
from storage.records import Artifact

READERS = 8
"""Files read at a time: an object store answers each in tens of milliseconds, and hashing leaves Python's lock."""

T = TypeVar("T")
Seen = Callable[[], None]
"""Called once for each file that was looked at."""


@dataclass(frozen=True, kw_only=True)
class Tree:
    """A file system and a root in it. Paths are the file system's own."""

    fs: Any
    root: str

    @classmethod
    def open(cls, url: str, setting: str, s3_endpoint_url: str | None) -> Tree:
        fs, root = open_files(url, setting, s3_endpoint_url=s3_endpoint_url)
        return cls(fs=fs, root=root)

    @property
    def local(self) -> bool:
        return isinstance(self.fs, LocalFileSystem)

    def files(self, *below: str) -> dict[str, Mapping[str, Any]]:
        """{path from the root: facts} of every file at or below `below`; empty where nothing is."""
        found = self.fs.find("/".join((self.root, *below)), detail=True)
        return {path[len(self.root) + 1:]: facts for path, facts in found.items()}

    def path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def read(self, name: str) -> bytes:
        """The bytes below the root. Raises FileNotFoundError, or NotPlain for a link, a folder or a device."""
        return read_whole(self.fs, self.path(name))


def age(facts: Mapping[str, Any]) -> float:
    """Seconds since the file was written; 0 where its store does not say, so that it counts as in flight."""
    written = facts.get("mtime") or facts.get("LastModified") or facts.get("created")
    if isinstance(written, datetime):
        written = written.timestamp()
    return 0.0 if written is None else max(0.0, time.time() - float(written))


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What lies in the store's own folders, by digest or by name."""

    objects: Mapping[str, Mapping[str, Any]]
    findings: tuple[Finding, ...]


_OBJECT = re.compile(r"sha256/([0-9a-f]{2})/(\1[0-9a-f]{62})")
_SET_ASIDE = re.compile(r"(quarantine|trash)/(.+)")


def list_store(tree: Tree, grace_seconds: float) -> Stored:
    """Everything under the store's root, sorted: objects, and findings for all that is none."""
    objects: dict[str, Mapping[str, Any]] = {}
    findings: list[Finding] = []
    for name, facts in sorted(tree.files().items()):
        if found := _OBJECT.fullmatch(name):
            objects[found[2]] = facts
        elif found := _SET_ASIDE.fullmatch(name):
            kind: Any = "quarantined" if found[1] == "quarantine" else "trashed"
            findings.append(Finding(kind=kind, where=name, what=f"{facts['size']} bytes"))
        elif name == RECORD:
            continue
        elif name.startswith("sha256/") and name.endswith(DRAFT):
            findings.extend(_stale(name, facts, grace_seconds, "artifacts"))
        else:
            findings.append(Finding(kind="stray", where=name, what=f"{facts['size']} bytes in the artifact store"))
    return Stored(objects=objects, findings=tuple(findings))


def stale_deliveries(tree: Tree, grace_seconds: float) -> Iterator[Finding]:
    """What a killed process left half delivered. Only a local disk has drafts: an object store's put is whole."""
    for name, facts in sorted(tree.files().items()) if tree.local else ():
        if name.endswith(DRAFT):
            yield from _stale(name, facts, grace_seconds, "outputs")


def _stale(name: str, facts: Mapping[str, Any], grace_seconds: float, place: str) -> Iterator[Finding]:
    if age(facts) > grace_seconds:
        yield Finding(kind="stale_draft", where=name, subject=(place,),
                      what=f"{facts['size']} bytes in {place}, {age(facts) / 3600:.0f} h old")


def object_findings(tree: Tree, objects: Mapping[str, Mapping[str, Any]], rows: Mapping[str, Artifact], *,
                    read_data: bool, grace_seconds: float, seen: Seen) -> Iterator[Finding]:
    """Each object against its name and its row. `missing` ones are the caller's to tell: they have no object."""
    def look(digest: str) -> list[Finding]:
        facts, row = objects[digest], rows.get(digest)
        found = list(_read(tree, digest, row) if read_data else _measure(digest, facts, row))
        if row is None and not found and age(facts) > grace_seconds:
            found.append(Finding(kind="orphan", where=digest,
                                 what=f"{facts['size']} bytes, {age(facts) / 3600:.0f} h old"))
        seen()
        return found

    yield from _together(look, objects)


def _together(look: Callable[[T], list[Finding]], things: Collection[T]) -> Iterator[Finding]:
    with ThreadPoolExecutor(READERS) as pool:
        for found in pool.map(look, things):
            yield from found


def _measure(digest: str, facts: Mapping[str, Any], row: Artifact | None) -> Iterator[Finding]:
    if row is not None and facts["size"] != row.bytes:
        yield Finding(kind="wrong_size", where=digest,
                      what=f"its row says {row.bytes} bytes, the store {facts['size']}")


def _read(tree: Tree, digest: str, row: Artifact | None) -> Iterator[Finding]:
    try:
        data = tree.read(f"sha256/{digest[:2]}/{digest}")
    except FileNotFoundError:
        return  # set aside since it was listed; whoever did that tells the ledger
    except NotPlain:
        yield Finding(kind="damaged", where=digest, what="it is a link, a folder or a device")
        return
    if (found := sha256_hex(data)) != digest:
        yield Finding(kind="damaged", where=digest, what=f"its {len(data)} bytes hash to {found}")
    elif row is not None:
        if len(data) != row.bytes:
            yield Finding(kind="wrong_size", where=digest,
                          what=f"its row says {row.bytes} bytes, it has {len(data)}")
        if (true := picture_facts(data)) not in (None, (row.media_type, row.width, row.height)):
            yield Finding(kind="wrong_facts", where=digest,
                          what=f"its row says {row.media_type} {row.width}x{row.height}, it is {true[0]} "
                               f"{true[1]}x{true[2]}" if true else "")


def picture_facts(data: bytes) -> tuple[str, int, int] | None:
    """(media type, width, height) of stored bytes, None where they are not a PNG and so cannot be told cheaply."""
    size = png_size(data)
    return None if size is None else ("image/png", *size)


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """The latest picture of a job's role. at_rest: its job is not running, so nobody is about to replace it."""

    job_id: str
    role: str
    digest: str
    uri: str
    at_rest: bool


def delivery_findings(deliveries: Iterable[Delivery], s3_endpoint_url: str | None, *, read_data: bool,
                      seen: Seen) -> Iterator[Finding]:
    """Each delivered file against its row. Each lies where outputs_url pointed then, which may be given up by now: one
    place that cannot be looked at is a finding, a server that does not answer is none (StoreUnavailable)."""
    def look(delivery: Delivery) -> list[Finding]:
        finding = _delivered(delivery, s3_endpoint_url, read_data)
        seen()
        return [] if finding is None else [finding]

    yield from _together(look, list(deliveries))


def _delivered(delivery: Delivery, s3_endpoint_url: str | None, read_data: bool) -> Finding | None:
    try:
        return _as_delivered(delivery, s3_endpoint_url, read_data)
    except StoreUnavailable:
        raise
    except (StorageError, OSError) as error:
        return Finding(kind="unreachable", where=delivery.uri,
                       what=f"{delivery.role} of job {delivery.job_id}: {error}")


def _as_delivered(delivery: Delivery, s3_endpoint_url: str | None, read_data: bool) -> Finding | None:
    tree = Tree.open(delivery.uri, "outputs_url", s3_endpoint_url)
    whose = f"{delivery.role} of job {delivery.job_id}"
    subject = (delivery.job_id, delivery.role, delivery.digest)
    if read_data:
        try:
            data = read_whole(tree.fs, tree.root)
        except (FileNotFoundError, NotPlain):
            return Finding(kind="undelivered", where=delivery.uri, what=whose, subject=subject)
        if delivery.at_rest and delivered_digest(data) != delivery.digest:
            return Finding(kind="other_delivery", where=delivery.uri, what=whose, subject=subject)
    elif not tree.fs.exists(tree.root):
        return Finding(kind="undelivered", where=delivery.uri, what=whose, subject=subject)
    return None


def delivered_digest(data: bytes) -> str:
    """The digest of the stored picture that a delivered file was made from; of its own bytes, if it is no PNG."""
    return sha256_hex(unstamped(data) or data)
