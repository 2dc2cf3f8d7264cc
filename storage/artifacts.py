"""The artifact store: bytes under their SHA-256, hashed again whenever they are read.

    <url>/sha256/ab/abcd…(64 hex)          intact bytes; the algorithm is part of the path
    <url>/quarantine/abcd….<what it is>    damaged bytes, kept for whoever wants to know why
"""

from __future__ import annotations

from typing import Any

from storage.digests import is_digest, sha256_hex
from storage.errors import ArtifactCorrupt, ArtifactMissing
from storage.faults import point
from storage.files import NotPlain, open_files, put_whole, read_whole, set_aside
from storage.records import Artifact

NO_FILE = "no-file"
"""What stands in place of the hash where the name of a digest is a link, a folder or a device."""


class ArtifactStore:
    """Content-addressed bytes below `url`, a local folder or s3://bucket/prefix. Safe for many threads and processes:
    whoever writes a digest writes the same bytes. After a fork the child opens its own.

    It looks before it writes and hashes what it reads, so that nothing here rests on what a store promises: neither on
    conditional creates (two of four S3 servers ignore them, spec/reliability.md 0.6) nor on listings.
    """

    def __init__(self, url: str, *, s3_endpoint_url: str | None = None) -> None:
        self._fs: Any
        self._fs, self._root = open_files(url, "artifacts_url", s3_endpoint_url=s3_endpoint_url)

    def put(self, data: bytes, *, media_type: str, width: int, height: int) -> Artifact:
        """Store `data`. The same bytes twice is a no-op; a damaged object under their name is replaced."""
        digest = sha256_hex(data)
        if not self.intact(digest):
            self._write(digest, data)
            point("artifact.stored")
        return Artifact(digest=digest, media_type=media_type, bytes=len(data), width=width, height=height)

    def _write(self, digest: str, data: bytes) -> None:
        path = self._path(digest)
        try:
            put_whole(self._fs, path, data, new=True)
        except FileExistsError:  # another writer was quicker, or our own put got through and its answer did not
            if not self.intact(digest):
                put_whole(self._fs, path, data)

    def get(self, digest: str) -> bytes:
        """The bytes of this digest. Raises ArtifactMissing, or ArtifactCorrupt once the damaged bytes are set aside."""
        try:
            return self.look(digest)
        except ArtifactCorrupt as error:
            self._quarantine(self._path(digest), digest, error.found)
            raise

    def look(self, digest: str) -> bytes:
        """As `get`, for who must change nothing: damaged bytes stay where they lie."""
        try:
            data = read_whole(self._fs, self._path(digest))
            found = sha256_hex(data)
        except FileNotFoundError as error:
            raise ArtifactMissing(digest) from error
        except NotPlain:
            found = NO_FILE
        if found == digest:
            return data
        raise ArtifactCorrupt(digest, found)

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
        aside = f"{self._root}/quarantine/{digest}.{found}"
        if set_aside(self._fs, path, aside, lambda data: sha256_hex(data) != digest):
            point("artifact.set_aside")
