"""What is said of weights that are not here: the file, its size, how much else is missing, and how to get it all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from models.errors import WeightsError
from models.profiles import Profile, WeightFile
from models.weights_lock import Pin


def missing(file: WeightFile, profile: Profile, weights_dir: Path, lock: Mapping[str, Pin],
            needed: Iterable[WeightFile] = ()) -> WeightsError:
    """The error for a file that is not here. needed: the files among which others may be missing too; then it says how
    many, and how much they are with this one."""
    others = [one for one in needed if one.key != file.key and not (weights_dir / one.key).is_file()]
    more = ""
    if others:
        together = sum(_bytes(one, lock) or 0 for one in (file, *others))
        more = f", and {len(others)} more, {size_words(together)} in all"
    return WeightsError(
        f"{file.key} ({_size(file, lock)}) is missing, which the profile {profile.name} needs{more}",
        field="weights_dir", value=str(weights_dir), remedy=f"Get {'them' if others else 'it'} with: "
        f"{pull_command(profile)} ; without a network: `backlot weights list` says how")


def pull_command(profile: Profile) -> str:
    return f"backlot weights pull --profile {profile.name}"


def size_words(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 10_000_000 else f"{count / 1e3:.1f} kB"


def _size(file: WeightFile, lock: Mapping[str, Pin]) -> str:
    count = _bytes(file, lock)
    return "a small file, 1 MB at most" if count is None else size_words(count)


def _bytes(file: WeightFile, lock: Mapping[str, Pin]) -> int | None:
    """As it was when it was pinned, else as published; None of a small file that was never pinned."""
    return lock[file.key].size if file.key in lock else file.size_bytes
