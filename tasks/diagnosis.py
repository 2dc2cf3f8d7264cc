"""What `backlot doctor` says: lines, and how a check is asked so that nothing it does can hang or end the doctor."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import copy_context
from dataclasses import dataclass, field
from threading import Thread
from typing import Literal

Verdict = Literal["ok", "warning", "failed"]


@dataclass(frozen=True, kw_only=True)
class Line:
    """about: one word. said: what was found. remedy: what to do; empty where all is well."""

    about: str
    verdict: Verdict
    said: str
    remedy: str = ""


def ok(about: str, said: str) -> Line:
    return Line(about=about, verdict="ok", said=said)


def warning(about: str, said: str, remedy: str) -> Line:
    return Line(about=about, verdict="warning", said=said, remedy=remedy)


def failed(about: str, said: str, remedy: str) -> Line:
    return Line(about=about, verdict="failed", said=said, remedy=remedy)


def broken(about: str, error: BaseException) -> Line:
    """The line for an error that ended a check: our errors say what to do, others where they come from."""
    remedy = getattr(error, "remedy", None)
    said = " ".join(str(error).split()) or type(error).__name__
    if isinstance(remedy, str) and remedy:
        return failed(about, said.removesuffix(remedy).rstrip(" ."), remedy)
    return failed(about, f"{type(error).__name__}: {said}"[:300], "Mend that first; this was not looked at further")


@dataclass(frozen=True, kw_only=True)
class Check:
    """ask: a question to this installation. seconds: how long its answer is waited for."""

    about: str
    ask: Callable[[], Sequence[Line]]
    seconds: float = 5.0


def asked(checks: Sequence[Check]) -> Iterator[Line]:
    """Every check's lines, in order; all are asked at once. Never raises, whatever a check does."""
    questions = [_Question(check) for check in checks]
    for question in questions:
        yield from question.answer()


@dataclass(eq=False)
class _Question:
    """A check that runs in a thread of its own, which dies with the process where it never answers."""

    check: Check
    _lines: list[Line] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._until = time.monotonic() + self.check.seconds
        # in the caller's context, where Prefect keeps settings that differ from the environment's
        self._thread = Thread(target=copy_context().run, args=(self._ask,),
                              name=f"doctor-{self.check.about}", daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        try:
            self._lines = list(self.check.ask())
        except BaseException as error:  # also SystemExit: of a broken installation anything may come
            self._lines = [broken(self.check.about, error)]

    def answer(self) -> Sequence[Line]:
        self._thread.join(max(0.0, self._until - time.monotonic()))
        if self._thread.is_alive():
            return [failed(self.check.about, f"did not answer within {self.check.seconds:g} s",
                           "Look whether it is up and can be reached from here")]
        return self._lines
