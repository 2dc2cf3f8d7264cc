"""Which weights lie on this machine, and their digests: pin hashes a profile's files once, resolve reads the result.

Files lie under <weights_dir>/<owner>/<repository>/<path>, as `backlot weights pull` and `hf download <repository>
--local-dir` put them; the lock beside them (models/weights_lock.py) says what each must be. No torch here, and no bytes
of weights are read by `resolve`: a job that only reuses results pays for a few dozen `stat` calls.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from models import weights_lock
from models.alone import alone
from models.errors import WeightsError
from models.missing import missing, pull_command
from models.passes import PASSES
from models.profiles import PROFILES, ModelSpec, Profile, WeightFile, profile
from models.safetensors_check import check_file
from models.weights_lock import Pin

__all__ = ["PROFILES", "Checked", "ModelSpec", "Pin", "PinnedModel", "Profile", "WeightFile", "check_all",
           "download_command", "pin", "profile", "resolve", "sha256_of", "vanished", "verify"]

OPTIONAL_ROLES = frozenset(
    role for spec in PASSES.values() for role in (*spec.optional_weights, *spec.chosen_weights))
"""Roles a pass can do without, or that not every way of it needs: left out where none of the files were fetched."""

THREADS = min(8, os.cpu_count() or 1)
"""For hashing: hashlib lets go of the interpreter, so each thread is a core's worth (about 1 s a GB)."""


@dataclass(frozen=True, kw_only=True)
class PinnedModel:
    """A model whose every byte is known: what a pass key names and what the zoo loads.

    digest: 64 hex. sha256: file key -> digest of its bytes. commits: file key -> its repository's commit, where known.
    sizes: file key -> bytes. size_bytes: of the files together; 0 for tiny models. profile: for which it was resolved,
    to say what fetches it; models of two profiles with the same digest are the same.
    """

    spec: ModelSpec
    digest: str
    folder: Path | None = None
    sha256: Mapping[str, str] = field(default_factory=dict)
    commits: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    size_bytes: int = 0
    profile: Profile | None = field(default=None, compare=False, repr=False)

    def path(self, file: WeightFile) -> Path:
        if self.folder is None:
            raise ValueError(f"{self.spec.name} is not made of files")
        return self.folder / file.key


def resolve(profile: Profile, weights_dir: Path) -> Mapping[str, PinnedModel]:
    """The profile's models by weight role, as pinned here. Reads the lock and file sizes, never the weights.

    Raises WeightsError for a file that is missing, was never pinned or whose size changed since, with the command that
    helps. An optional role of which nothing was fetched is left out.
    """
    lock = {} if profile.is_tiny else weights_lock.read(weights_dir)
    needed = _needed(profile, weights_dir, lock)
    return {role: _pinned(profile, spec, weights_dir, lock, needed) for role, spec in profile.models.items()
            if not _left_out(role, spec, weights_dir, lock)}


def pin(profile: Profile, weights_dir: Path) -> Path:
    """Hash every file the loaders would read and write it into the lock; returns the lock's path.

    For files that came by hand: what is here now is what later pulls must match. About 1 s a GB of weights. Raises
    WeightsError for a missing file, one that is not what the table says, or one that no loader would open; and while
    somebody else pulls or pins here.
    """
    with alone(weights_dir):
        return weights_lock.write(weights_dir, _pins_of_now(profile, weights_dir))


def _pins_of_now(profile: Profile, weights_dir: Path) -> dict[str, Pin]:
    """The folder's lock with the profile's files as they lie here now."""
    files, lock = _needed(profile, weights_dir, {}), weights_lock.read(weights_dir)
    before = {file.key: lock.pop(file.key) for file in profile.files if file.key in lock}
    for file in files:
        path = _present(profile, file, weights_dir, before, files)
        check_file(path, file)
        digest = sha256_of(path)
        if file.sha256 not in (None, digest):
            raise _not_itself(path, file, f"has the digest {digest}, and the table of weights says {file.sha256}")
        known = before.get(file.key)
        lock[file.key] = Pin(sha256=digest, size=path.stat().st_size,
                             commit=known.commit if known and known.sha256 == digest else None)
    return lock


def verify(model: PinnedModel, digest_of: Callable[[Path], str] | None = None) -> None:
    """Hash the model's files again, or ask `digest_of`. Raises WeightsError naming the first that is not as pinned."""
    for file in model.spec.files:
        _check_bytes(model.path(file), file, (digest_of or sha256_of)(model.path(file)), model.sha256[file.key])


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What was found of one file. fault: why it cannot serve, in one line; None where it is what was pinned."""

    file: WeightFile
    fault: WeightsError | None


def check_all(profile: Profile, weights_dir: Path, arrived: Callable[[int], None] = lambda read: None
              ) -> Iterator[Checked]:
    """Hash every file of the profile again, several at once; each as it is known. arrived: told the bytes read.

    Files of an optional role of which nothing was fetched are passed over.
    """
    lock = weights_lock.read(weights_dir)

    def look(file: WeightFile) -> Checked:
        try:
            path, pinned = _here(profile, file, weights_dir, lock)  # each that is missing is told by itself
            check_file(path, file)
            _check_bytes(path, file, sha256_of(path, arrived), pinned.sha256)
        except WeightsError as error:
            return Checked(file=file, fault=error)
        return Checked(file=file, fault=None)

    with ThreadPoolExecutor(THREADS) as pool:
        yield from pool.map(look, _needed(profile, weights_dir, lock))


def vanished(model: PinnedModel) -> WeightsError | None:
    """What to say of the first of the model's files that is not here any more, though it was when it was resolved; None
    where all are."""
    if model.folder is None or model.profile is None:
        return None
    for file in model.spec.files:
        if not model.path(file).is_file():
            lock = weights_lock.read(model.folder)
            return missing(file, model.profile, model.folder, lock, _needed(model.profile, model.folder, lock))
    return None


def download_command(profile: Profile, repo: str, weights_dir: Path) -> str:
    """The command that fetches what the profile needs of one repository, to where the loaders look for it."""
    files = [file for file in profile.files if file.repo == repo]
    revision = f" --revision {files[0].revision}" if files[0].revision else ""
    return f"hf download {repo} {' '.join(file.path for file in files)}{revision} --local-dir {weights_dir / repo}"


def sha256_of(path: Path, arrived: Callable[[int], None] = lambda read: None) -> str:
    """The digest of the file's bytes as they are on the disk, 64 hex. arrived: told the bytes of each chunk read."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as opened:
        while chunk := opened.read(1 << 20):
            digest.update(chunk)
            arrived(len(chunk))
    return digest.hexdigest()


def _pinned(profile: Profile, spec: ModelSpec, weights_dir: Path, lock: Mapping[str, Pin],
            needed: Iterable[WeightFile]) -> PinnedModel:
    if spec.source == "tiny":
        return PinnedModel(spec=spec, digest=spec.digest({}))
    pins = {}
    for file in spec.files:
        path, pins[file.key] = _here(profile, file, weights_dir, lock, needed)
        size = path.stat().st_size
        if size != pins[file.key].size:
            raise _not_itself(path, file, f"has {size} bytes and had {pins[file.key].size} when it was pinned")
    sha256 = {key: pin.sha256 for key, pin in pins.items()}
    return PinnedModel(spec=spec, digest=spec.digest(sha256), folder=weights_dir, sha256=sha256,
                       commits={key: pin.commit for key, pin in pins.items() if pin.commit},
                       sizes={key: pin.size for key, pin in pins.items()},
                       size_bytes=sum(pin.size for pin in pins.values()), profile=profile)


def _here(profile: Profile, file: WeightFile, weights_dir: Path, lock: Mapping[str, Pin],
          needed: Iterable[WeightFile] = ()) -> tuple[Path, Pin]:
    """Where the file lies and what it was when it was pinned. needed: as for models.missing.missing."""
    path = _present(profile, file, weights_dir, lock, needed)
    if file.key not in lock:
        raise WeightsError(
            f"{file.key} was never pinned", field="weights_dir", value=str(weights_dir),
            remedy=f"Compare it with the Hub and pin it with: {pull_command(profile)} ; or, where it came by hand, "
            f"record what is there with: backlot weights pin --profile {profile.name}")
    return path, lock[file.key]


def _needed(profile: Profile, weights_dir: Path, lock: Mapping[str, Pin]) -> list[WeightFile]:
    """The profile's files, each once, but for those of an optional role of which nothing was fetched."""
    return list({file.key: file for role, spec in profile.models.items()
                 if not _left_out(role, spec, weights_dir, lock) for file in spec.files}.values())


def _left_out(role: str, spec: ModelSpec, weights_dir: Path, lock: Mapping[str, Pin]) -> bool:
    return (role in OPTIONAL_ROLES and spec.source == "files"
            and not any(file.key in lock or (weights_dir / file.key).exists() for file in spec.files))


def _present(profile: Profile, file: WeightFile, weights_dir: Path, lock: Mapping[str, Pin],
             needed: Iterable[WeightFile]) -> Path:
    path = weights_dir / file.key
    if not path.is_file():
        raise missing(file, profile, weights_dir, lock, needed)
    return path


def _check_bytes(path: Path, file: WeightFile, digest: str, pinned: str) -> None:
    if digest != pinned:
        raise _not_itself(path, file, "is not the file that was pinned: its bytes changed")


def _not_itself(path: Path, file: WeightFile, what: str) -> WeightsError:
    return WeightsError(
        f"{file.key} {what}", field="weights_dir", value=str(path),
        remedy="`backlot weights pull` fetches the pinned one again; where the change was meant, `backlot weights pin` "
               "records it, and results will be made anew")
