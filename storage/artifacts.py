"""The artifact store: bytes under their SHA-256, hashed again whenever they are read.

    <url>/sha256/ab/abcd…(64 hex)          intact bytes; the algorithm is part of the path
    <url>/quarantine/abcd….<what it is>    damaged bytes, kept for whoever wants to know why
"""

from __future__ import annotations

from typing import Any

from storage.digests import is_digest, sha256_hex
from storage.errors import ArtifactCorrupt, ArtifactMissing
from storage.faults import point
from storage.files import open_files, put_whole
from storage.records import Artifact


class ArtifactStore:
    """Content-addressed bytes below `url`, a local folder or any fsspec url. Safe for many threads and processes:
    whoever writes a digest writes the same bytes."""

    def __init__(self, url: str) -> None:
        self._fs: Any
        self._fs, self._root = open_files(url, "artifacts_url")

    def put(self, data: bytes, *, media_type: str, width: int, height: int) -> Artifact:
        """Store `data`. The same bytes twice is a no-op; a damaged object under their name is replaced."""
        digest = sha256_hex(data)
        if not self.intact(digest):
            put_whole(self._fs, self._path(digest), data)
            point("artifact.stored")
        return Artifact(digest=digest, media_type=media_type, bytes=len(data), width=width, height=height)

    def get(self, digest: str) -> bytes:
        """The bytes of this digest. Raises ArtifactMissing, or ArtifactCorrupt once the damaged bytes are set aside."""
        path = self._path(digest)
        try:
            data: bytes = self._fs.cat_file(path)
        except FileNotFoundError as error:
            raise ArtifactMissing(digest) from error
        found = sha256_hex(data)
        if found != digest:
            self._quarantine(path, digest, found)
            raise ArtifactCorrupt(digest, found)
        return data

    def intact(self, digest: str) -> bool:
        """Are the bytes there, and what their name says? Reads and hashes them; sets damaged ones aside."""
        try:
            self.get(digest)
        except (ArtifactMissing, ArtifactCorrupt):
            return False
        return True

    def uri(self, digest: str) -> str:
        return str(self._fs.unstrip_protocol(self._path(digest)))

    def _path(self, digest: str) -> str:
        if not is_digest(digest):
            raise ValueError(f"digest={digest!r}: not 64 lower-case hex digits")
        return f"{self._root}/sha256/{digest[:2]}/{digest}"

    def _quarantine(self, path: str, digest: str, found: str) -> None:
        folder = f"{self._root}/quarantine"
        self._fs.makedirs(folder, exist_ok=True)
        try:
            self._fs.mv(path, f"{folder}/{digest}.{found}")
            point("artifact.set_aside")
        except FileNotFoundError:
            return  # another reader found the damage too and was quicker
