"""The checker's door: looks at everything this process's settings name, and heals what it may."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from storage import repair as storage_repair
from storage import verify as storage_verify
from storage.findings import KINDS, Finding, Kind
from storage.records import Artifact
from storage.repair import Repaired
from storage.verify import Progress, Report
from tasks.deliver import deliver, facts
from tasks.requests import JobRef
from tasks.services import Services

__all__ = ["KINDS", "Finding", "Kind", "Progress", "Repaired", "Report", "check", "heal"]


def check(here: Services, *, read_data: bool, progress: Progress) -> Report:
    return storage_verify.verify(here.database, here.settings, read_data=read_data, progress=progress)


def heal(here: Services, findings: Iterable[Finding]) -> Iterator[Repaired]:
    """Repair one after the other, telling each as it is done."""
    def redeliver(job_id: str, role: str, artifact: Artifact) -> str:
        job = here.lineage.job(job_id)
        ref = JobRef(job_id=job_id, pipeline=job.pipeline, profile=job.profile)
        return deliver(here, ref, role, artifact, facts(job.profile, job.resolved["document"]["seed"]))

    return storage_repair.repair(findings, here.database, here.settings, redeliver)

