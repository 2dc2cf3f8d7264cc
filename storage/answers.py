"""What lineage answers with: a job's passes and sources, the tree behind a picture, the reasons of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from storage.records import Artifact, Disposition


@dataclass(frozen=True, kw_only=True)
class PassRow:
    """A pass of a job, with the execution it rests on. `at` is its name within the job.

    made_by_job: who ran the execution, this job or an earlier one; seconds and model_calls are that run's. Of a
    skipped pass everything below `reason` is empty, None or 0.
    """

    at: str
    position: int
    pass_name: str
    disposition: Disposition
    reason: str
    key: str | None = None
    generation: int | None = None
    exec_id: str | None = None
    made_by_job: str | None = None
    seconds: float = 0.0
    model_calls: int = 0
    params: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, Artifact] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    device: str | None = None
    dtype: str | None = None
    batch_size: int = 1
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """All that is recorded of a job's pass: what it takes to run it again, and where it ran.

    inputs: the artifacts of `row.inputs`; environment: name -> version; files: weight role -> {file: SHA-256}, nothing
    for models that are drawn. Of a skipped pass all but `row` is empty.
    """

    row: PassRow
    pass_version: int | None = None
    inputs: Mapping[str, Artifact] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SourceRow:
    """A file a job read. source_digest: of its bytes; artifact: the picture `reader` made of them, notes: what it had
    to tell of them, in clauses; size in bytes, mtime and observed_at in unix seconds."""

    uri: str
    version: str
    size: int
    mtime: float | None
    source_digest: str
    reader: str
    artifact: Artifact
    observed_at: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Node:
    """A picture and what it was made from. role: what it is to whoever uses it.

    Exactly one of made_by (a pass, whose inputs are below) and source (a file that was read) is set; neither where the
    job does not know, and of a mask: versions, which of its photo's it is. Several where one was set again later.
    """

    role: str
    artifact: Artifact
    made_by: PassRow | None = None
    source: SourceRow | None = None
    versions: tuple[int, ...] = ()
    inputs: Mapping[str, Node] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Change:
    """A part of a key and its two values; None where one of the keys has no such part."""

    part: str
    before: Any
    after: Any


@dataclass(frozen=True, kw_only=True)
class Why:
    """Why a job's pass was executed or reused.

    nearest_job: of an executed pass, the job that made the nearest earlier result of the same pass: fewest differing
    parts, then latest. None where there was none, and for passes that were not executed. changes: what differs from it;
    none where the very same key was made anew (a refresh, or its bytes were lost).
    """

    at: str
    position: int
    pass_name: str
    disposition: Disposition
    reason: str
    made_by_job: str | None
    nearest_job: str | None = None
    changes: tuple[Change, ...] = ()
