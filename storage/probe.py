"""What a store can do, measured and not believed: two of four S3 servers tried ignore a conditional create in silence
(spec/reliability.md 0.6). `backlot doctor` asks, and a bucket's first worker (storage/measured.py).

Nothing in Backlot rests on the answer. The artifact store looks before it writes and its names are digests, so that an
overwrite brings the same bytes; who may record a result is decided by a lease in the database.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from storage.errors import StorageError, StoreUnavailable
from storage.files import open_files, put_whole, read_whole
from storage.s3_names import is_s3

PROBES = "probe"
"""Folder below a bucket's root."""
LEAST_FREE = 2_000_000_000
"""Bytes. A job at 4096 x 3072 with its debug pictures writes some 200 MB (estimate: 10 PNGs of 20 MB); ten of them."""


@dataclass(frozen=True, kw_only=True)
class Capability:
    """why: what was seen, and what follows where it is missing. needed: without it the store cannot be relied on;
    where it is False, Backlot works all the same and the operator should know."""

    name: str
    ok: bool
    needed: bool
    why: str


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A store on one day. capabilities: of a bucket conditional_create, list_after_write, ranged_read, delete; of a
    folder exclusive_create, rename, fsync, free_space."""

    setting: str
    url: str
    capabilities: tuple[Capability, ...]

    @property
    def usable(self) -> bool:
        return all(one.ok for one in self.capabilities if one.needed)


def probe(url: str, setting: str, *, s3_endpoint_url: str | None = None) -> Probe:
    """Write, read and delete one small object below `url`, in a folder of its own; 8 requests of a bucket.

    setting: artifacts_url or outputs_url. Raises StorageError naming it where not even the write or the read works, and
    StoreUnavailable within seconds, not minutes, where nobody answers.
    """
    if is_s3(url):
        from storage.s3 import BRIEF, open_s3  # here for the reason that storage/files.py gives

        fs, root = open_s3(url, setting, endpoint_url=s3_endpoint_url, patience=BRIEF)
        return Probe(setting=setting, url=url, capabilities=_bucket(fs, f"{root}/{PROBES}/{uuid4().hex}"))
    _, root = open_files(url, setting)
    try:
        return Probe(setting=setting, url=url, capabilities=_folder(Path(root)))
    except OSError as error:
        raise StorageError(f"cannot be written ({error.strerror or error})", field=setting, value=url,
                           remedy="Name a folder that this user can write to") from error


def _bucket(fs: Any, folder: str) -> tuple[Capability, ...]:
    path = f"{folder}/object"
    put_whole(fs, path, b"first", new=True)
    return (
        _asked("conditional_create", lambda: _create_is_refused(fs, path), "a second create was refused",
               "a create with If-None-Match replaced what was there: writers of one digest overwrite each other, which "
               "is harmless, since they bring the same bytes"),
        _asked("list_after_write", lambda: path in fs.find(folder), "the new object was listed at once",
               "the new object was not listed: `backlot verify` may not see what was just written"),
        _asked("ranged_read", lambda: bytes(fs.cat_file(path, start=1, end=3)) == read_whole(fs, path)[1:3],
               "two bytes were read alone", "a range was answered wrongly: nothing here asks for one"),
        _asked("delete", lambda: _is_deleted(fs, path), "the object was deleted",
               f"s3://{path} is left behind, and damaged artifacts stay in their place until they are made anew"),
    )


def _create_is_refused(fs: Any, path: str) -> bool:
    try:
        put_whole(fs, path, b"second", new=True)
    except FileExistsError:
        return read_whole(fs, path) == b"first"
    return False


def _is_deleted(fs: Any, path: str) -> bool:
    fs.rm_file(path)
    try:
        read_whole(fs, path)
    except FileNotFoundError:
        return True
    return False


def _asked(name: str, question: Callable[[], bool], yes: str, no: str) -> Capability:
    """A capability of a bucket: none is needed, and a refusal is an answer too."""
    try:
        ok = question()
    except StoreUnavailable:
        raise
    except (StorageError, OSError) as error:
        return Capability(name=name, ok=False, needed=False, why=f"{no} ({error})")
    return Capability(name=name, ok=ok, needed=False, why=yes if ok else no)


def _folder(root: Path) -> tuple[Capability, ...]:
    folder = root / f"probe-{uuid4().hex}"
    folder.mkdir(parents=True)
    try:
        file = folder / "object"
        _write(file, b"first", synced=True)
        return (
            _needed("exclusive_create", lambda: _exists_already(file), "a second create was refused",
                    "a second create replaced the first: drafts of two writers may mix"),
            _needed("rename", lambda: _replaces(file), "a move replaced the file whole",
                    "a move did not replace the file: readers may see half a picture"),
            _needed("fsync", lambda: _syncs(folder), "file and folder were synced",
                    "the folder cannot be synced: a power cut may lose what was recorded"),
            _free_space(root),
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _needed(name: str, question: Callable[[], bool], yes: str, no: str) -> Capability:
    try:
        ok = question()
    except OSError as error:
        return Capability(name=name, ok=False, needed=True, why=f"{no} ({error.strerror})")
    return Capability(name=name, ok=ok, needed=True, why=yes if ok else no)


def _write(file: Path, data: bytes, *, synced: bool) -> None:
    with file.open("xb") as opened:
        opened.write(data)
        opened.flush()
        if synced:
            os.fsync(opened.fileno())


def _exists_already(file: Path) -> bool:
    try:
        _write(file, b"second", synced=False)
    except FileExistsError:
        return file.read_bytes() == b"first"
    return False


def _replaces(file: Path) -> bool:
    draft = file.with_name("draft")
    _write(draft, b"moved", synced=False)
    draft.replace(file)
    return file.read_bytes() == b"moved" and not draft.exists()


def _syncs(folder: Path) -> bool:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    return True


def _free_space(root: Path) -> Capability:
    free = shutil.disk_usage(root).free
    return Capability(name="free_space", ok=free >= LEAST_FREE, needed=True,
                      why=f"{free / 1e9:.1f} GB are free" + ("" if free >= LEAST_FREE else
                                                              f", fewer than {LEAST_FREE / 1e9:.0f}: make room"))
