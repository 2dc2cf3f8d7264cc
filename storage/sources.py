"""Reading the photo a document names: which uris are allowed, and what is remembered of the file that was read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from storage.digests import sha256_hex
from storage.errors import SourceError

MOST_BYTES = 50_000_000


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file as it was read. version: its size and mtime in one word; digest: SHA-256 of its bytes."""

    uri: str
    version: str
    size: int
    mtime: float
    digest: str
    data: bytes


def read_source(image: str, input_roots: Sequence[Path]) -> Source:
    """The bytes behind `image`: a local path or file:// uri under one of `input_roots`.

    Raises SourceError naming the field `image`, the value and the remedy: scheme not supported, outside the roots, no
    such file, not a plain file, empty or larger than 50 MB.
    """
    try:
        return _read(image, input_roots)
    except (OSError, ValueError) as error:
        raise SourceError(image, f"cannot be read ({getattr(error, 'strerror', None) or error})",
                          "Give the path of a JPEG, PNG or WebP file") from error


def _read(image: str, input_roots: Sequence[Path]) -> Source:
    resolved = _local_path(image).resolve()
    roots = [root.resolve() for root in input_roots]
    if not any(resolved.is_relative_to(root) for root in roots):
        raise SourceError(image, "lies outside the folders a document may read",
                          "Add its folder to BACKLOT_INPUT_ROOTS, or use `backlot run`, which may read any path")
    if not resolved.exists():
        raise SourceError(image, "there is no such file", "Give the path of a JPEG, PNG or WebP file")
    if not resolved.is_file():
        raise SourceError(image, "is not a file", "Give the path of a JPEG, PNG or WebP file")
    facts = resolved.stat()
    if not 0 < facts.st_size <= MOST_BYTES:
        raise SourceError(image, f"has {facts.st_size} bytes", f"Give a file of 1 to {MOST_BYTES} bytes")
    data = resolved.read_bytes()
    return Source(uri=resolved.as_uri(), version=f"{facts.st_size}-{facts.st_mtime_ns}", size=facts.st_size,
                  mtime=facts.st_mtime, digest=sha256_hex(data), data=data)


def _local_path(image: str) -> Path:
    parts = urlsplit(image)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    if len(parts.scheme) > 1 and "://" in image:
        raise SourceError(image, f"{parts.scheme}:// is not read yet", "Give a local path or a file:// uri")
    return Path(image)
