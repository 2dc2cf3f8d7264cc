"""The lock of a weights folder, <weights_dir>/weights.lock.json: which bytes belong under which name, and whence.

{file key: {"sha256": 64 hex, "size": bytes, "commit": the repository's commit, where it is known}}. One lock for all
profiles, since they share files: what `sdxl` pinned, `sdxl-union` must find unchanged. Written whole or not at all.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import WeightsError

NAME = "weights.lock.json"
OLD_NAMES = ("sdxl.lock.json", "sdxl-union.lock.json")
"""Until 2026-11-21 each profile had its own, without commits. They are read beside the one, and `take_over` ends them;
a file of any other name is somebody else's."""


@dataclass(frozen=True, kw_only=True)
class Pin:
    """What a file was when it was pinned. commit: None where the file came by hand, without word of its revision."""

    sha256: str
    size: int
    commit: str | None = None


def read(weights_dir: Path) -> dict[str, Pin]:
    """The pins by file key; empty where nothing was pinned yet. The one lock counts before the old ones.

    Raises WeightsError for a lock that is none, and for a file that the old ones pin differently, the one not at all.
    """
    return _merged(weights_dir, _old(weights_dir))


def write(weights_dir: Path, lock: Mapping[str, Pin]) -> Path:
    """Put `lock` in the place of what was there; its path. A reader sees the old lock or the new one, never half."""
    path = weights_dir / NAME
    facts = {key: {"sha256": pin.sha256, "size": pin.size} | ({"commit": pin.commit} if pin.commit else {})
             for key, pin in lock.items()}
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    with draft.open("w", encoding="utf-8") as opened:
        opened.write(json.dumps(facts, indent=1, sort_keys=True) + "\n")
        opened.flush()
        os.fsync(opened.fileno())
    os.replace(draft, path)
    return path


def take_over(weights_dir: Path) -> None:
    """Make the old locks part of the one, and delete them. Inside models.alone.alone, which calls it. As `read` raises.

    Killed between the two, it is done again: what is in the one lock by then counts.
    """
    if old := _old(weights_dir):
        write(weights_dir, _merged(weights_dir, old))
        for path in old:
            path.unlink(missing_ok=True)


def commit_of(lock: Mapping[str, Pin], repo: str) -> str | None:
    """The commit that the repository's files were fetched from; None where no file of it says."""
    return next((pin.commit for key, pin in sorted(lock.items()) if pin.commit and in_repo(key, repo)), None)


def in_repo(key: str, repo: str) -> bool:
    return key.startswith(f"{repo}/")


def _old(weights_dir: Path) -> list[Path]:
    return [path for name in OLD_NAMES if (path := weights_dir / name).is_file()]


def _merged(weights_dir: Path, old: Sequence[Path]) -> dict[str, Pin]:
    theirs = [(path, _pins(path)) for path in old]  # first: what is taken over meanwhile is in the one by then
    lock, said_by = _pins(weights_dir / NAME), dict[str, Path]()
    for path, pins in theirs:
        for key, pin in pins.items():
            if key in said_by and pin != lock[key]:
                raise WeightsError(
                    f"pins {key} as {pin.sha256}, and {said_by[key].name} beside it as {lock[key].sha256}",
                    field="weights_dir", value=str(path), remedy="Delete the lock that is wrong (sha256sum of the file "
                    "tells), or both: then `backlot weights pull` compares what is here with the Hub")
            if key not in lock:
                lock[key], said_by[key] = pin, path
    return lock


def _pins(path: Path) -> dict[str, Pin]:
    """None where there is no such file."""
    try:
        return {key: _pin(facts) for key, facts in json.loads(path.read_text(encoding="utf-8")).items()}
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        raise WeightsError(
            "the lock file is not JSON of the form it was written in", field="weights_dir", value=str(path),
            remedy="Delete it, then `backlot weights pin` records what is here, or `backlot weights pull` compares it "
            "with the Hub") from error


def _pin(facts: Mapping[str, Any]) -> Pin:
    if not re.fullmatch("[0-9a-f]{64}", facts["sha256"]):
        raise ValueError("no digest")
    return Pin(sha256=facts["sha256"], size=int(facts["size"]), commit=facts.get("commit"))
