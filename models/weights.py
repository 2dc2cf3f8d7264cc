"""Which weights lie on this machine, and their digests: pin hashes a profile's files once, resolve reads the result.

Files lie under <weights_dir>/<owner>/<repository>/<path>, as `hf download <repository> --local-dir` puts them. The
lock beside them, <weights_dir>/<profile>.lock.json, says {file key: {sha256, size}}. No torch here, and no bytes of
weights are read by `resolve`: a job that only reuses results pays for a few dozen `stat` calls.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from models.errors import WeightsError
from models.passes import PASSES
from models.profiles import PROFILES, ModelSpec, Profile, WeightFile, profile
from models.safetensors_check import check_file

__all__ = ["PROFILES", "ModelSpec", "PinnedModel", "Profile", "WeightFile", "download_command", "pin", "profile",
           "resolve", "verify"]

OPTIONAL_ROLES = frozenset(role for spec in PASSES.values() for role in spec.optional_weights)
"""Roles a pass can do without: left out where none of the model's files were ever fetched."""

Lock = Mapping[str, Mapping[str, str | int]]


@dataclass(frozen=True, kw_only=True)
class PinnedModel:
    """A model whose every byte is known: what a pass key names and what the zoo loads.

    digest: 64 hex. sha256: file key -> digest of its bytes. size_bytes: of the files together; 0 for tiny models.
    """

    spec: ModelSpec
    digest: str
    folder: Path | None = None
    sha256: Mapping[str, str] = field(default_factory=dict)
    size_bytes: int = 0

    def path(self, file: WeightFile) -> Path:
        if self.folder is None:
            raise ValueError(f"{self.spec.name} is not made of files")
        return self.folder / file.key


def resolve(profile: Profile, weights_dir: Path) -> Mapping[str, PinnedModel]:
    """The profile's models by weight role, as pinned here. Reads the lock and file sizes, never the weights.

    Raises WeightsError for a file that is missing, was never pinned or whose size changed since, with the command that
    helps. An optional role of which nothing was fetched is left out.
    """
    lock = {} if profile.is_tiny else _read_lock(profile, weights_dir)
    return {role: _pinned(profile, spec, weights_dir, lock) for role, spec in profile.models.items()
            if not _left_out(role, spec, weights_dir, lock)}


def pin(profile: Profile, weights_dir: Path) -> Path:
    """Hash every file the loaders would read and write the profile's lock; returns the lock's path.

    About 1 s a GB of weights. Raises WeightsError for a missing file, one that is not what the table says, or one that
    no loader would open.
    """
    lock = {}
    for role, spec in profile.models.items():
        if _left_out(role, spec, weights_dir, {}):
            continue
        for file in spec.files:
            path = _present(profile, file, weights_dir)
            check_file(path, file)
            digest = _sha256(path)
            if file.sha256 not in (None, digest):
                raise _not_itself(path, file, f"has the digest {digest}, and the table of weights says {file.sha256}")
            lock[file.key] = {"sha256": digest, "size": path.stat().st_size}
    lock_path = _lock_path(profile, weights_dir)
    draft = lock_path.with_suffix(".tmp")
    draft.write_text(json.dumps(lock, indent=1, sort_keys=True) + "\n")
    os.replace(draft, lock_path)  # a reader sees the old lock or the new one, never half of one
    return lock_path


def verify(model: PinnedModel, digest_of: Callable[[Path], str] | None = None) -> None:
    """Hash the model's files again, or ask `digest_of`. Raises WeightsError naming the first that is not as pinned."""
    for file in model.spec.files:
        path = model.path(file)
        if (digest_of or _sha256)(path) != model.sha256[file.key]:
            raise _not_itself(path, file, "is not the file that was pinned: its bytes changed")


def download_command(profile: Profile, repo: str, weights_dir: Path) -> str:
    """The command that fetches what the profile needs of one repository, to where the loaders look for it."""
    files = [file for file in profile.files if file.repo == repo]
    revision = f" --revision {files[0].revision}" if files[0].revision else ""
    return f"hf download {repo} {' '.join(file.path for file in files)}{revision} --local-dir {weights_dir / repo}"


def _pinned(profile: Profile, spec: ModelSpec, weights_dir: Path, lock: Lock) -> PinnedModel:
    if spec.source == "tiny":
        return PinnedModel(spec=spec, digest=spec.digest({}))
    sha256: dict[str, str] = {}
    size_bytes = 0
    for file in spec.files:
        path = _present(profile, file, weights_dir)
        if file.key not in lock:
            raise WeightsError(f"{file.key} was never pinned", field="weights_dir", value=str(weights_dir),
                               remedy=_pin_first(profile))
        size = path.stat().st_size
        if size != lock[file.key]["size"]:
            raise _not_itself(path, file, f"has {size} bytes and had {lock[file.key]['size']} when it was pinned")
        sha256[file.key] = str(lock[file.key]["sha256"])
        size_bytes += size
    return PinnedModel(spec=spec, digest=spec.digest(sha256), folder=weights_dir, sha256=sha256, size_bytes=size_bytes)


def _left_out(role: str, spec: ModelSpec, weights_dir: Path, lock: Lock) -> bool:
    return (role in OPTIONAL_ROLES and spec.source == "files"
            and not any(file.key in lock or (weights_dir / file.key).exists() for file in spec.files))


def _present(profile: Profile, file: WeightFile, weights_dir: Path) -> Path:
    path = weights_dir / file.key
    if not path.is_file():
        size = f" ({file.size_bytes / 1e9:.2f} GB)" if file.size_bytes else ""
        raise WeightsError(
            f"{file.key}{size} is missing, which the profile {profile.name} needs", field="weights_dir",
            value=str(weights_dir),
            remedy=f"Get it with: {download_command(profile, file.repo, weights_dir)} ; then {_pin_first(profile)}")
    return path


def _not_itself(path: Path, file: WeightFile, what: str) -> WeightsError:
    return WeightsError(
        f"{file.key} {what}", field="weights_dir", value=str(path),
        remedy="Fetch the file again; where the change was meant, pin again, and results will be made anew")


def _pin_first(profile: Profile) -> str:
    return f"Record what is there with: backlot weights pin --profile {profile.name}"


def _lock_path(profile: Profile, weights_dir: Path) -> Path:
    return weights_dir / f"{profile.name}.lock.json"


def _read_lock(profile: Profile, weights_dir: Path) -> Lock:
    path = _lock_path(profile, weights_dir)
    if not path.is_file():
        return {}
    try:
        lock: Lock = json.loads(path.read_text())
    except ValueError as error:
        raise WeightsError("the lock file is not JSON", field="weights_dir", value=str(path),
                           remedy=_pin_first(profile)) from error
    return lock


def _sha256(path: Path) -> str:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
