"""Fetch weights from the Hub: plan what is missing, then bring it, each file verified before it has its name.

A repository's newest commit is taken once and pinned in the lock; later pulls fetch that commit and must find the same
bytes. A change of weights is an error, not an update, unless `repin` names the repository. Only files of the table are
fetched, never whole repositories. Killed at any point, a pull goes on where it stopped: half a file keeps its bytes
under a name that holds its digest.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock
from typing import TYPE_CHECKING, Protocol

from models import weights_lock
from models.errors import WeightsError
from models.profiles import WeightFile
from models.safetensors_check import check_file, most_bytes
from models.weights import THREADS, Pin, sha256_of

if TYPE_CHECKING:
    from models.hub import Hub, Listing, Remote  # a client of HTTP, which the other commands can do without

AT_ONCE = 4
"""Files fetched at a time: enough to fill the pauses at the ends of small ones; the large ones share the line."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A file to fetch. have: bytes of it from an earlier pull. changed: it was here, and not what it should be."""

    file: WeightFile
    commit: str
    remote: Remote
    sha256: str | None
    have: int
    changed: bool

    @property
    def missing(self) -> int:
        return self.remote.size - self.have


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a pull would do. settled: here, and as pinned. adopted: here and as at the Hub, so only pinned.
    listings: of the repositories that had to be asked; none where everything was settled."""

    settled: tuple[WeightFile, ...]
    adopted: Mapping[str, Pin]
    wanted: tuple[Wanted, ...]
    listings: Mapping[str, Listing]
    repinned: frozenset[str]

    @property
    def missing(self) -> int:
        """Bytes still to come."""
        return sum(one.missing for one in self.wanted)


class Watch(Protocol):
    """Who watches a pull; called from several threads."""

    def starts(self, one: Wanted) -> None: ...

    def arrived(self, one: Wanted, count: int) -> None:
        """`count` bytes more, or fewer, where the Hub began anew."""

    def ends(self, one: Wanted) -> None: ...


def plan(files: Sequence[WeightFile], weights_dir: Path, hub: Hub, *, repin: Collection[str] = ()) -> Plan:
    """What of `files` is here, and what must come from where. Hashes what is here; asks the Hub about the rest only.

    repin: repositories whose pins are to be forgotten. Raises WeightsError for what the Hub does not have as pinned.
    """
    lock = {key: pin for key, pin in weights_lock.read(weights_dir).items()
            if not any(weights_lock.in_repo(key, repo) for repo in repin)}
    with ThreadPoolExecutor(THREADS) as pool:
        here = dict(zip(files, pool.map(lambda file: _digest(weights_dir / file.key), files), strict=True))
        settled = [file for file, digest in here.items()
                   if digest is not None and file.key in lock and lock[file.key].sha256 == digest]
        open_ones = [file for file in files if file not in settled]
        repos = {file.repo: file.revision or weights_lock.commit_of(lock, file.repo) for file in open_ones}
        listings = dict(zip(repos, pool.map(lambda repo: hub.listing(repo, repos[repo]), repos), strict=True))
    for file in files:
        if file.repo in listings:
            _compare(file, listings[file.repo], lock.get(file.key))
    adopted, wanted = {}, []
    for file in open_ones:
        listing = listings[file.repo]
        remote, digest = listing.files[file.path], here[file]
        pinned = lock[file.key].sha256 if file.key in lock else file.sha256
        if digest is not None and pinned in (None, digest) and _same(weights_dir / file.key, digest, remote):
            adopted[file.key] = Pin(sha256=digest, size=remote.size, commit=listing.commit)
        else:
            wanted.append(Wanted(
                file=file, commit=listing.commit, remote=remote, sha256=pinned or remote.sha256,
                have=_have(_partial(weights_dir, file, remote), remote), changed=digest is not None))
    return Plan(settled=tuple(settled), adopted=adopted, wanted=tuple(wanted), listings=listings,
                repinned=frozenset(repin))


def carry_out(plan: Plan, weights_dir: Path, hub: Hub, watch: Watch) -> None:
    """Fetch what the plan wants and pin it, several files at once. Inside `alone`.

    Raises WeightsError for the first file that cannot be had; what has arrived by then stays.
    """
    _check_room(plan, weights_dir)
    book = _Book(weights_dir)
    book.begin(plan)
    over = Event()

    def bring(one: Wanted) -> None:
        def arrived(count: int) -> None:
            if over.is_set():
                raise _Over
            watch.arrived(one, count)

        watch.starts(one)
        book.enter(one.file.key, _brought(one, weights_dir, hub, arrived))
        watch.ends(one)

    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        # the largest first, or the pull would end with one file on an otherwise idle line
        running = [pool.submit(bring, one) for one in sorted(plan.wanted, key=lambda one: -one.missing)]
        wait(running, return_when=FIRST_EXCEPTION)
    finally:  # after a failure, and after Ctrl-C, the others end at their next chunk
        over.set()
        pool.shutdown(cancel_futures=True)
    _raise_first(running)


def _raise_first(running: Iterable[Future[None]]) -> None:
    errors = [future.exception() for future in running if not future.cancelled()]
    for error in errors:
        if error is not None and not isinstance(error, _Over):
            raise error


class _Over(Exception):
    """Ends a fetch, because another one failed."""


class _Book:
    """The lock's file while several threads fetch: each file is entered as soon as it has its name."""

    def __init__(self, weights_dir: Path) -> None:
        self._weights_dir = weights_dir
        self._turn = Lock()

    def begin(self, plan: Plan) -> None:
        lock = {key: pin for key, pin in weights_lock.read(self._weights_dir).items()
                if not any(weights_lock.in_repo(key, repo) for repo in plan.repinned)}
        if plan.adopted or plan.repinned:
            weights_lock.write(self._weights_dir, lock | dict(plan.adopted))

    def enter(self, key: str, pin: Pin) -> None:
        with self._turn:
            weights_lock.write(self._weights_dir, weights_lock.read(self._weights_dir) | {key: pin})


def _brought(one: Wanted, weights_dir: Path, hub: Hub, arrived: Callable[[int], None]) -> Pin:
    """Fetch a file beside its place, look at it, and only then give it its name."""
    target = weights_dir / one.file.key
    partial = _partial(weights_dir, one.file, one.remote)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        resumed = _have(partial, one.remote) > 0
        if not resumed and partial.is_file():
            partial.unlink()
        hub.fetch(one.file.repo, one.commit, one.file.path, one.remote.size, partial, arrived)
        if resumed and not _is(partial, one):  # bytes of the earlier pull were lost on the way to the disk
            arrived(-one.remote.size)
            partial.unlink()
            hub.fetch(one.file.repo, one.commit, one.file.path, one.remote.size, partial, arrived)
        digest = _looked_at(partial, one)
        with partial.open("rb") as opened:
            os.fsync(opened.fileno())
        os.replace(partial, target)
        for older in target.parent.glob(f".{target.name}.*.partial"):
            older.unlink()
    except OSError as error:
        raise WeightsError(f"it cannot be written ({error.strerror})", field="weights", value=one.file.key,
                           remedy="Mend the disk and pull again: what has arrived is kept") from error
    return Pin(sha256=digest, size=one.remote.size, commit=one.commit)


def _looked_at(partial: Path, one: Wanted) -> str:
    """The digest of what came, if it is what was wanted; else it is deleted, and the error says what came instead."""
    digest = sha256_of(partial)
    try:
        if not _same(partial, digest, one.remote):
            raise WeightsError(
                f"the bytes that came have the digest {digest}, and what was expected is "
                f"{one.remote.sha256 or f'the git object {one.remote.blob}'}", field="weights", value=one.file.key,
                remedy="They were deleted. Pull again; if it stays so, ask whoever runs the Hub or the proxy between")
        if one.sha256 not in (None, digest):
            raise _changed(one.file, digest, one.commit, str(one.sha256))
        check_file(partial, one.file)
    except WeightsError:
        partial.unlink()
        raise
    return digest


def _is(path: Path, one: Wanted) -> bool:
    digest = sha256_of(path)
    return one.sha256 in (None, digest) and _same(path, digest, one.remote)


def _compare(file: WeightFile, listing: Listing, pin: Pin | None) -> None:
    """Refuse a file that the Hub does not have, or has otherwise than the lock or the table says."""
    remote = listing.files.get(file.path)
    if remote is None:
        raise WeightsError(f"there is no such file at commit {listing.commit}", field="weights", value=file.key,
                           remedy=f"Look at the repository; to take its newest files: {_repin(file)}")
    said = pin.sha256 if pin else file.sha256
    if said and remote.sha256 and said != remote.sha256:
        raise _changed(file, remote.sha256, listing.commit, said)
    if remote.size > most_bytes(file):
        raise WeightsError(f"has {remote.size} bytes, more than the {most_bytes(file)} it may have", field="weights",
                           value=file.key, remedy="Nothing was fetched. The table of weights expects another file")


def _changed(file: WeightFile, found: str, commit: str, said: str) -> WeightsError:
    by, remedy = (("the table of weights", "Nothing of it was kept. Ask the repository's owner what became of the file")
                  if said == file.sha256 else
                  ("the lock", f"Nothing was changed. To take them, and have every result made anew: {_repin(file)}"))
    return WeightsError(
        f"has the digest {found} at commit {commit}, and {by} says {said}: other weights under the same name",
        field="weights", value=file.key, remedy=remedy)


def _repin(file: WeightFile) -> str:
    return f"backlot weights pull --repin {file.repo}"


def _check_room(plan: Plan, weights_dir: Path) -> None:
    free = shutil.disk_usage(weights_dir).free
    if plan.missing > free:
        raise WeightsError(
            f"{plan.missing / 1e9:.2f} GB are to come and {free / 1e9:.2f} GB are free", field="weights_dir",
            value=str(weights_dir), remedy="Make room, or name a folder on a larger disk: BACKLOT_WEIGHTS_DIR")


def _partial(weights_dir: Path, file: WeightFile, remote: Remote) -> Path:
    """Where half a file lies: named by its content, so that half of one version is never continued with another."""
    target = weights_dir / file.key
    return target.with_name(f".{target.name}.{(remote.sha256 or remote.blob)[:16]}.partial")


def _digest(path: Path) -> str | None:
    return sha256_of(path) if path.is_file() else None


def _have(partial: Path, remote: Remote) -> int:
    """How much of the file lies in `partial`; 0 where it holds more than the file has, so not the file's bytes."""
    size = partial.stat().st_size if partial.is_file() else 0
    return size if size <= remote.size else 0


def _same(path: Path, digest: str, remote: Remote) -> bool:
    """Are these the bytes the Hub describes? Small files it knows by git's digest of them only."""
    if remote.sha256 is not None:
        return digest == remote.sha256
    if path.stat().st_size != remote.size:
        return False
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() == remote.blob
