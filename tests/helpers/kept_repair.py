"""Checking and healing the small shop of `kept`, as if all that is young were old."""

from __future__ import annotations

from collections.abc import Iterable

from kept import Kept

from storage.findings import Finding
from storage.records import Artifact
from storage.repair import Repaired, repair
from storage.verify import Report, verify

NOW = -1.0
"""A grace that is over for everything: an object store's times cannot be set back."""


def check(kept: Kept) -> Report:
    return verify(kept.database, kept.settings, grace_seconds=NOW)


def heal(kept: Kept, findings: Iterable[Finding] | None = None) -> list[Repaired]:
    def redeliver(job_id: str, role: str, made: Artifact) -> str:
        return kept.deliver(job_id, role, made)

    return list(repair(check(kept).faults if findings is None else findings, kept.database, kept.settings, redeliver))
