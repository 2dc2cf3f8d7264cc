"""The one door to folders and buckets: files are written whole, read as plain files, and set aside when damaged."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
from fsspec.implementations.local import LocalFileSystem

from storage.errors import StorageError
from storage.faults import point
from storage.redaction import redacted
from storage.s3_names import is_s3

DRAFT = ".draft"
"""Ending of files being written; one that is old is what a killed process left."""


class NotPlain(OSError):
    """At this name stands no file but a link, a folder or a device."""


def open_files(url: str, setting: str, *, s3_endpoint_url: str | None = None) -> tuple[Any, str]:
    """The file system behind `url`, a local folder or s3://bucket/prefix, and the root in it.

    Raises StorageError naming the setting. What serves a bucket is storage.s3.S3Files.
    """
    if is_s3(url):
        from storage.s3 import open_s3  # here: s3fs and botocore take 0.3 s to import, which `backlot --help` need not

        return open_s3(url, setting, endpoint_url=s3_endpoint_url)
    if "::" in url or ("://" in url and not url.startswith("file://")):  # asked here: fsspec would already connect
        raise StorageError("is neither a folder nor a bucket", field=setting, value=redacted(url),
                           remedy="Give the path of a folder, or s3://bucket/prefix")
    fs, root = fsspec.core.url_to_fs(url)
    return fs, root.rstrip("/")


def read_whole(fs: Any, path: str) -> bytes:
    """The bytes of a plain file or an object. Raises FileNotFoundError, or NotPlain: a link planted at a digest's name
    must not make us read a device without end or wait at a pipe."""
    if not isinstance(fs, LocalFileSystem):
        data: bytes = fs.cat_file(path)
        return data
    try:
        with open(path, "rb", opener=_follow_no_link) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise NotPlain(errno.EINVAL, "is no plain file", path)
            return file.read()
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):  # a link, a folder, a socket
            raise NotPlain(errno.EINVAL, "is no plain file", path) from error
        raise


def _follow_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def put_whole(fs: Any, path: str, data: bytes, *, new: bool = False) -> None:
    """Write `data` to `path`: afterwards the file is whole there, and until then what was there before.

    One put of an object store is already so. On a local disk a draft beside it is synced, then moved into its place.
    new: a bucket refuses a name that is taken (FileExistsError), which may be by our own put whose answer was lost: so
    look what is there. A disk replaces it all the same: what is put so is named by its digest, and the same.
    """
    if isinstance(fs, LocalFileSystem):
        put_local(Path(path), data)
    else:
        fs.pipe_file(path, data, mode="create" if new else "overwrite")


def put_local(path: Path, data: bytes) -> None:
    """The disk's side of `put_whole`. The folders above are made. Raises OSError, and leaves no draft."""
    _make_folder(path.parent)
    draft = path.with_name(f"{path.name}.{uuid4().hex}{DRAFT}")
    try:
        with draft.open("xb") as file:
            point("file.begun")
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


def _make_folder(folder: Path) -> None:
    """`folder` and what is above it, each there for good before anything is put into it."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    """Make a new name in it survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def set_aside(fs: Any, path: str, aside: str, is_bad: Callable[[bytes], bool]) -> bool:
    """Move a damaged file to `aside`, but never good bytes that another writer has put in its place meanwhile.

    False where there was nothing bad to move: another reader or writer was quicker. On a disk a reader that asks in the
    instant between the move and the return of good bytes finds them missing, and they are made anew; what holds on S3
    says S3Files.
    """
    if not isinstance(fs, LocalFileSystem):
        return bool(fs.set_aside(path, aside, is_bad))
    Path(aside).parent.mkdir(parents=True, exist_ok=True)
    try:
        os.replace(path, aside)  # a move takes whatever has that name now, so look at what it took
        bad = is_bad(read_whole(fs, aside))
    except FileNotFoundError:
        return False
    except NotPlain:
        return True
    if not bad:
        os.replace(aside, path)
    return bad
