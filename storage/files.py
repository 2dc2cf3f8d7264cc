"""Writing a file so that nobody ever sees half of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
from fsspec.implementations.local import LocalFileSystem

from storage.errors import StorageError
from storage.faults import point

DRAFT = ".draft"
"""Ending of files being written; one that is old is what a killed process left."""


def open_files(url: str, setting: str) -> tuple[Any, str]:
    """The fsspec file system behind `url`, and the root in it. Raises StorageError naming the setting."""
    try:
        fs, root = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise StorageError(f"cannot be opened ({error})", field=setting, value=url,
                           remedy="Give the path of a folder") from error
    return fs, root.rstrip("/")


def put_whole(fs: Any, path: str, data: bytes) -> None:
    """Write `data` to `path`: afterwards the file is whole on disk, and until then what was there before.

    One put of an object store is already so. On a local disk a draft beside it is synced, then moved into its place.
    """
    if isinstance(fs, LocalFileSystem):
        _put_local(Path(path), data)
    else:
        fs.pipe_file(path, data)


def _put_local(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{uuid4().hex}{DRAFT}")
    try:
        with draft.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # before the move: a name must never come to stand before its bytes do
        point("file.drafted")
        draft.replace(path)
        point("file.moved")
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make the move itself survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
