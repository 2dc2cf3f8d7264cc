"""What travels between flow and tasks: a job's identity, a pass to run, digests. Small, picklable, no pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from models.params import PassParams
from models.passes import PASSES
from storage.records import Artifact


def pass_names() -> tuple[str, ...]:
    return tuple(PASSES)


@dataclass(frozen=True, kw_only=True)
class JobRef:
    """refresh: passes to make anew (a new generation) although a result exists, by their name or their place."""

    job_id: str
    pipeline: str
    profile: str
    flow_run_id: str | None = None
    refresh: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PassRequest:
    """One pass of one job: `at` is its name within the job (first, second), position its place in the order."""

    job: JobRef
    at: str
    position: int
    pass_name: str
    params: PassParams
    inputs: Mapping[str, Artifact] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PassResult:
    """What the job now rests on. made_by: the job that executed it, this one or an earlier."""

    artifact: Artifact
    disposition: Literal["executed", "reused"]
    made_by: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One request's end: exactly one of result and error is set."""

    request: PassRequest
    result: PassResult | None = None
    error: BaseException | None = None

    def value(self) -> PassResult:
        if self.error is not None:
            raise self.error
        if self.result is None:
            raise RuntimeError(f"the pass {self.request.at} ended without a result or an error")
        return self.result
