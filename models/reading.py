"""Weights read from disk ahead of those who need them: all files of several models at once, each hashed on the way.

What is read stays in the system's cache, so that the libraries, which map the files into memory, find it there: the
bytes come from the disk once, and several requests are under way. hashlib and pread release the interpreter's lock, so
files are hashed beside one another and beside the building of earlier models. No torch here.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Generator, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from models.weights import PinnedModel

BLOCK = 8 * 1024**2
"""Bytes of one read."""
AHEAD = 4
"""Reads under way for each file while what came before is hashed: 32 MiB."""
FILES_AT_ONCE = 4
"""Spec/performance.md 5.1: one reader gave 0.9 GB/s cold, two gave 2.4 of the same disk; 4 to 8 are its advice."""


class Ahead:
    """Files being read: `digest` waits for one."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._readers = ThreadPoolExecutor(FILES_AT_ONCE, thread_name_prefix="weights-read")
        self._hashers = ThreadPoolExecutor(FILES_AT_ONCE, thread_name_prefix="weights-hash")
        self._digests: Mapping[Path, Future[str]] = {
            path: self._hashers.submit(digest, path, self._readers) for path in dict.fromkeys(files)}

    def digest(self, path: Path) -> str:
        """SHA-256 of the file, 64 hex, as soon as it is read. Raises OSError."""
        known = self._digests.get(path)
        return digest(path, self._readers) if known is None else known.result()

    def close(self) -> None:
        """Stop reading what nobody waited for; without readers the hashers end too."""
        self._readers.shutdown(cancel_futures=True)
        self._hashers.shutdown(cancel_futures=True)


@contextmanager
def reading_ahead(models: Iterable[PinnedModel]) -> Generator[Ahead]:
    """Read the models' files, in their order, while the block runs."""
    ahead = Ahead(model.path(file) for model in models for file in model.spec.files)
    try:
        yield ahead
    finally:
        ahead.close()


def digest(path: Path, readers: ThreadPoolExecutor) -> str:
    """SHA-256 of the file: blocks are read by `readers`, several at a time, and hashed in order on this thread."""
    hashed = hashlib.sha256()
    with path.open("rb", buffering=0) as opened:
        descriptor, size = opened.fileno(), os.fstat(opened.fileno()).st_size
        free = deque(bytearray(min(BLOCK, size)) for _ in range(AHEAD))
        coming: deque[tuple[bytearray, Future[int]]] = deque()
        try:
            for start in range(0, size, BLOCK):
                if not free:
                    free.append(_hash_one(hashed, coming))
                buffer = free.popleft()
                coming.append((buffer, readers.submit(_fill, descriptor, buffer, min(BLOCK, size - start), start)))
            while coming:
                _hash_one(hashed, coming)
        finally:
            for _, future in coming:  # the descriptor is closed only when nobody reads from it any more
                if not future.cancel():
                    future.exception()
    return hashed.hexdigest()


def _hash_one(hashed: hashlib._Hash, coming: deque[tuple[bytearray, Future[int]]]) -> bytearray:
    buffer, future = coming.popleft()
    hashed.update(memoryview(buffer)[:future.result()])
    return buffer


def _fill(descriptor: int, buffer: bytearray, length: int, start: int) -> int:
    """Bytes read: `length`, or fewer where the file has become shorter."""
    done = 0
    with memoryview(buffer) as view:
        while done < length:
            count = os.preadv(descriptor, [view[done:length]], start + done)
            if count == 0:
                break
            done += count
    return done
