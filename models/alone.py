"""One process at a time changes a folder of weights: its lock is read, added to and written whole, so of two who did
that beside one another the first one's entries would be lost."""

from __future__ import annotations

import fcntl
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from models.errors import WeightsError
from models.weights_lock import take_over


@contextmanager
def alone(weights_dir: Path) -> Generator[None]:
    """Nobody else pulls into this folder or pins in it while the block runs. Raises WeightsError where one does."""
    try:
        weights_dir.mkdir(parents=True, exist_ok=True)
        door = (weights_dir / ".pull").open("w")
    except OSError as error:
        raise WeightsError(f"this folder cannot be written ({error.strerror})", field="weights_dir",
                           value=str(weights_dir), remedy="Name another one: BACKLOT_WEIGHTS_DIR") from error
    with door:
        try:
            fcntl.flock(door, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise WeightsError(
                "another pull or pin is at work in this folder", field="weights_dir", value=str(weights_dir),
                remedy="Wait for it: what it brings need not be fetched again") from error
        take_over(weights_dir)
        yield
