"""The lock of a weights folder, <weights_dir>/weights.lock.json: which bytes belong under which name, and whence.

{file key: {"sha256": 64 hex, "size": bytes, "commit": the repository's commit, where it is known}}. One lock for all
profiles, since they share files: what `sdxl` pinned, `sdxl-union` must find unchanged. Written whole or not at all.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import WeightsError

NAME = "weights.lock.json"
OLD_NAMES = "*.lock.json"
"""Until 2026-11-21 each profile had its own, <profile>.lock.json without commits. Read, and taken over by `write`."""


@dataclass(frozen=True, kw_only=True)
class Pin:
    """What a file was when it was pinned. commit: None where the file came by hand, without word of its revision."""

    sha256: str
    size: int
    commit: str | None = None


def read(weights_dir: Path) -> dict[str, Pin]:
    """The pins by file key; empty where nothing was pinned yet. Raises WeightsError for a lock that is none."""
    lock: dict[str, Pin] = {}
    for path in (*_old(weights_dir), weights_dir / NAME):
        if path.is_file():
            lock |= _pins(path)
    return lock


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
    for old in _old(weights_dir):
        old.unlink(missing_ok=True)  # `lock` began as what `read` found, so theirs is in the new one
    return path


def commit_of(lock: Mapping[str, Pin], repo: str) -> str | None:
    """The commit that the repository's files were fetched from; None where no file of it says."""
    return next((pin.commit for key, pin in sorted(lock.items()) if pin.commit and in_repo(key, repo)), None)


def in_repo(key: str, repo: str) -> bool:
    return key.startswith(f"{repo}/")


def _old(weights_dir: Path) -> list[Path]:
    return [path for path in sorted(weights_dir.glob(OLD_NAMES)) if path.name != NAME]


def _pins(path: Path) -> dict[str, Pin]:
    try:
        return {key: _pin(facts) for key, facts in json.loads(path.read_text(encoding="utf-8")).items()}
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        raise WeightsError(
            "the lock file is not JSON of the form it was written in", field="weights_dir", value=str(path),
            remedy="Delete it, then `backlot weights pin` records what is here, or `backlot weights pull` compares it "
            "with the Hub") from error


def _pin(facts: Mapping[str, Any]) -> Pin:
    if not re.fullmatch("[0-9a-f]{64}", facts["sha256"]):
        raise ValueError("no digest")
    return Pin(sha256=facts["sha256"], size=int(facts["size"]), commit=facts.get("commit"))
