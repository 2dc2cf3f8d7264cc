"""Reading a local file that a document names, and no other file whatever happens meanwhile (G25)."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from storage.errors import SourceUnavailable
from storage.images import refused
from storage.redaction import redacted

_GIVE = "Give the path of a JPEG, PNG or WebP file"
_SEARCH = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""O_PATH, where there is one, opens a folder that may be passed through but not listed."""
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""O_NONBLOCK: opening a pipe does not wait for somebody to write into it."""
_OF_THE_MACHINE = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO}


@dataclass(frozen=True, kw_only=True)
class LocalFile:
    """path: resolved, as it was opened; mtime_ns: nanoseconds since 1970."""

    path: Path
    data: bytes
    size: int
    mtime_ns: int


def read_local(path: str, roots: Sequence[Path], *, image: str, most_bytes: int) -> LocalFile:
    """The plain file at `path` if it lies under one of `roots` after all symbolic links are followed.

    image: what the document says, for messages. Raises SourceError: outside the roots, missing, not a plain file,
    unreadable, empty or larger than `most_bytes`; SourceUnavailable where it changes while it is read. Errors of the
    machine (no file handles left, a failing disk) rise as the OSError that they are.
    """
    try:
        resolved = Path(os.path.realpath(path))
        if not any(resolved.is_relative_to(os.path.realpath(root)) for root in roots):
            raise refused(image, "lies outside the folders a document may read",
                          "Add its folder to BACKLOT_INPUT_ROOTS, or use `backlot run`, which may read any path")
        with _opened(resolved, image) as file:
            return _read(file, resolved, image, most_bytes)
    except FileNotFoundError as error:
        raise refused(image, "there is no such file", _GIVE) from error
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) in _OF_THE_MACHINE:
            raise
        raise refused(image, f"cannot be read ({getattr(error, 'strerror', None) or type(error).__name__})",
                      _GIVE) from error


@contextmanager
def _opened(resolved: Path, image: str) -> Generator[int]:
    """The file's descriptor, by a walk that follows no symbolic link: `resolved` had none, so one that is met now was
    put there since, to lead elsewhere. What is no plain file is not even opened: with devices that alone can do harm.
    """
    folder = os.open(resolved.anchor, _SEARCH)
    try:
        for part in resolved.parts[1:-1]:
            below = os.open(part, _SEARCH, dir_fd=folder)
            os.close(folder)
            folder = below
        _check_plain(os.stat(resolved.name or ".", dir_fd=folder, follow_symlinks=False), image)
        file = os.open(resolved.name, _READ, dir_fd=folder)
    finally:
        os.close(folder)
    try:
        yield file
    finally:
        os.close(file)


def _read(file: int, resolved: Path, image: str, most_bytes: int) -> LocalFile:
    facts = os.fstat(file)
    _check_plain(facts, image)
    if not 0 < facts.st_size <= most_bytes:
        raise refused(image, f"has {facts.st_size} bytes", f"Give a file of 1 to {most_bytes} bytes")
    with os.fdopen(file, "rb", buffering=0, closefd=False) as reader:
        pieces, left = [], facts.st_size + 1  # one more than there should be, and never more, tells a file that grows
        while left and (piece := reader.read(left)):
            pieces.append(piece)
            left -= len(piece)
    now = os.fstat(file)
    if left != 1 or (now.st_size, now.st_mtime_ns) != (facts.st_size, facts.st_mtime_ns):
        raise SourceUnavailable(redacted(image), "changes while it is read", "Run the job again once it is written")
    return LocalFile(path=resolved, data=b"".join(pieces), size=facts.st_size, mtime_ns=facts.st_mtime_ns)


def _check_plain(facts: os.stat_result, image: str) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise refused(image, "is not a file", _GIVE)
