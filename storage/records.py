"""The plain values that go in and out of the store, the ledger and lineage. Frozen; nothing here touches a disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from storage.digests import pass_key

JobState = Literal["running", "completed", "needs_review", "failed", "interrupted"]
Verdict = Literal["pass", "fail", "abstain", "reported"]
ExecutionState = Literal["running", "succeeded", "failed", "lost"]
Disposition = Literal["executed", "reused", "skipped"]


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """Stored bytes by their SHA-256 (64 hex). width, height in pixels. This travels; the bytes stay where they are."""

    digest: str
    media_type: str
    bytes: int
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class KnownPhoto:
    """What a decoder made of a file's bytes, and what it had to tell of them, in clauses."""

    artifact: Artifact
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """A job to open. requested: the document as asked; resolved: with every decision made (seed, sizes, prompt)."""

    job_id: str
    pipeline: str
    profile: str
    requested: Mapping[str, Any]
    resolved: Mapping[str, Any]
    schema_version: int
    flow_run_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Job(NewJob):
    """A stored job. error: what ended it unless it completed. Times are unix seconds of the database's clock."""

    state: JobState
    error: Mapping[str, Any] | None = None
    created_at: int
    finished_at: int | None = None


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A measure of a job's final picture, and what follows. value: None where it abstained; limit: None where it is
    only reported; said: what was measured, or why it abstained; version: of the measure."""

    name: str
    version: int
    value: float | None
    limit: float | None
    verdict: Verdict
    said: str


@dataclass(frozen=True, kw_only=True)
class KeyParts:
    """All that decides a pass's pixels: name, version and parameters, {role: digest} of its inputs and weights."""

    pass_name: str
    pass_version: int
    params: Mapping[str, Any]
    inputs: Mapping[str, str]
    weights: Mapping[str, str]

    @cached_property
    def key(self) -> str:
        """SHA-256 of the canonical JSON of all parts: the cache key, 64 hex."""
        return pass_key({"pass": self.pass_name, "version": self.pass_version, "params": self.params,
                         "inputs": self.inputs, "weights": self.weights})

    def parts(self) -> dict[str, Any]:
        """The same parts as one flat level: pass, version, params.<name>, inputs.<role>, weights.<role>."""
        return {
            "pass": self.pass_name, "version": self.pass_version,
            **{f"params.{name}": value for name, value in self.params.items()},
            **{f"inputs.{role}": digest for role, digest in self.inputs.items()},
            **{f"weights.{role}": digest for role, digest in self.weights.items()},
        }


@dataclass(frozen=True, kw_only=True)
class Execution:
    """One finished run of a pass for one key. job_id: the job that ran it; ended_at: unix seconds, database's clock;
    notes: what that run told."""

    exec_id: str
    key: str
    generation: int
    attempt: int
    pass_name: str
    job_id: str
    state: ExecutionState
    outputs: Mapping[str, Artifact]
    model_calls: int
    seconds: float
    ended_at: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The right to compute a key, until the lease ends. fence: grows with every claim; only the newest may commit."""

    exec_id: str
    key: str
    generation: int
    attempt: int
    fence: int


@dataclass(frozen=True, kw_only=True)
class Busy:
    """Another worker is computing this key. seconds_left: until its lease ends, at least 1."""

    exec_id: str
    seconds_left: int


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What is recorded of a run and enters no key. seconds: wall time, of a batch its share; model_calls: of
    the batch; peak_memory: bytes on the device, if known; environment: name -> version."""

    seconds: float
    model_calls: int = 0
    device: str = "cpu"
    dtype: str = "float32"
    peak_memory: int | None = None
    batch_size: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    task_run_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """One file of a model. repo, revision (a commit, where known), path: where it is published."""

    sha256: str
    repo: str
    revision: str | None
    path: str
    bytes: int
    licence: str
    commercial_use: Literal["yes", "restricted", "no", "unknown"]
