"""What a run tells whoever watches it: plain events, sent to the listeners of this process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from storage.records import Judgement


@dataclass(frozen=True, kw_only=True)
class JobOpened:
    job_id: str
    pipeline: str
    profile: str
    resumed: bool


@dataclass(frozen=True, kw_only=True)
class Warned:
    """Something about the input or the store that a user should know; the job goes on."""

    job_id: str
    text: str


@dataclass(frozen=True, kw_only=True)
class PassStarted:
    job_id: str
    at: str
    pass_name: str


@dataclass(frozen=True, kw_only=True)
class PassWaits:
    """Another worker is computing this very pass, or died at it: its lease ends in seconds_left unless renewed."""

    job_id: str
    at: str
    seconds_left: int


@dataclass(frozen=True, kw_only=True)
class PassStepped:
    """One model call done; total is what the pass has announced so far."""

    job_id: str
    at: str
    done: int
    total: int


@dataclass(frozen=True, kw_only=True)
class PassEnded:
    """seconds: wall time of this visit (of the look-up, on a hit); from_job: who made it, where it was reused; notes:
    of the run that made it, `of_earlier_run` where that was not this one."""

    job_id: str
    at: str
    pass_name: str
    disposition: Literal["executed", "reused", "skipped"]
    seconds: float
    model_calls: int
    reason: str
    from_job: str | None = None
    notes: tuple[str, ...] = ()


def of_earlier_run(note: str) -> str:
    """A note of the run that made a result, as it is told where that is reused: it holds of this job's picture too."""
    return f"of the earlier run: {note}"


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One measure of how true the final picture is to its product."""

    job_id: str
    judgement: Judgement


@dataclass(frozen=True, kw_only=True)
class Published:
    job_id: str
    role: str
    uri: str


Event = JobOpened | Warned | PassStarted | PassWaits | PassStepped | PassEnded | Judged | Published
Listener = Callable[[Event], None]

_listeners: list[Listener] = []
log = logging.getLogger(__name__)


def tell(event: Event) -> None:
    """Send the event to all listeners. One that fails is logged: watching must not fail what is watched."""
    for listener in _listeners:
        try:
            listener(event)
        except Exception:
            log.warning("a listener failed on %s", event, exc_info=True)


@contextmanager
def listening(listener: Listener) -> Generator[None]:
    """Send every event of this process to `listener` while the block runs."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
