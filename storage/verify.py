"""The checker: does everything that is remembered still hold? Reads only; `storage.repair` heals what it finds.

It is what the crash tests judge by and what operators run, so both trust the same code (spec/reliability.md 4, G34).
Rows are read before the store is listed: bytes are stored before their row, so a row seen here must have its bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from storage.database import Database, reads
from storage.findings import Finding
from storage.records import Artifact
from storage.rows import ARTIFACT, to_artifact
from storage.settings import Settings
from storage.tables import job, job_output, mask_override, pass_execution, pass_output
from storage.verify_files import (
    Delivery,
    Tree,
    delivery_findings,
    list_store,
    object_findings,
    stale_deliveries,
)
from storage.verify_rows import file_findings, key_findings, row_findings

GRACE_SECONDS = 24 * 3600
"""Bytes without a row, and drafts, that are younger count as in flight (spec/reliability.md 4, G4 and G35)."""

Progress = Callable[[int, int], None]
"""progress(done, total) of files looked at."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """counts: what was looked at, by plain names (artifacts, objects, executions, jobs, deliveries). read_data: every
    byte was read, else sizes and existence only."""

    findings: tuple[Finding, ...]
    counts: Mapping[str, int]
    read_data: bool

    @property
    def faults(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.fault)


@dataclass(frozen=True, kw_only=True)
class _Known:
    artifacts: Mapping[str, Artifact]
    deliveries: tuple[Delivery, ...]
    findings: tuple[Finding, ...]
    counts: Mapping[str, int]


def verify(database: Database, settings: Settings, *, read_data: bool = True, grace_seconds: float = GRACE_SECONDS,
           progress: Progress = lambda done, total: None) -> Report:
    """Everything that is wrong, and what an operator may want to know. Changes nothing.

    read_data: read and hash every object and delivered file; else compare sizes and existence. Raises
    StoreUnavailable or DatabaseUnavailable where one of them does not answer: that is no finding.
    """
    if broken := file_findings(database):  # then no row can be believed, and none may be acted upon
        return Report(findings=tuple(broken), counts={}, read_data=read_data)
    rows = _Rows(database)
    known = rows.known(read_data)
    store = Tree.open(settings.artifacts_url, "artifacts_url", settings.s3_endpoint_url)
    outputs = Tree.open(settings.outputs_url, "outputs_url", settings.s3_endpoint_url)
    stored = list_store(store, grace_seconds)
    done, total = 0, len(stored.objects) + len(known.deliveries)

    def seen() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    findings = [
        *known.findings, *stored.findings, *stale_deliveries(outputs, grace_seconds),
        *rows.missing(known.artifacts.keys() - stored.objects.keys()),
        *object_findings(store, stored.objects, known.artifacts, read_data=read_data, grace_seconds=grace_seconds,
                         seen=seen),
        *delivery_findings(known.deliveries, settings.s3_endpoint_url, read_data=read_data, seen=seen)]
    return Report(findings=tuple(findings), counts={**known.counts, "objects": len(stored.objects)},
                  read_data=read_data)


class _Rows:
    """The checker's questions to the database; each sees one state of it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @reads
    def known(self, connection: Connection, read_data: bool) -> _Known:
        findings = list(row_findings(connection))
        if read_data:
            findings.extend(key_findings(connection))
        artifacts = {row.digest: to_artifact(row) for row in connection.execute(select(*ARTIFACT))}
        deliveries = tuple(_deliveries(connection))
        counts = {"artifacts": len(artifacts), "deliveries": len(deliveries)}
        for name, table in (("executions", pass_execution), ("jobs", job)):
            counts[name] = connection.execute(select(func.count()).select_from(table)).scalar_one()
        return _Known(artifacts=artifacts, deliveries=deliveries, findings=tuple(findings), counts=counts)

    @reads
    def missing(self, connection: Connection, digests: Collection[str]) -> list[Finding]:
        """Rows without bytes. No fault where every execution that made them is known to be lost."""
        found = []
        for digest in sorted(digests):
            makers = set(connection.execute(
                select(pass_execution.c.state).distinct().join_from(pass_output, pass_execution)
                .where(pass_output.c.digest == digest)).scalars())
            if makers and "succeeded" not in makers:
                found.append(Finding(kind="declared_lost", where=digest, what="what made it will make it again"))
            else:
                found.append(Finding(kind="missing", where=digest, what=f"it is {_whose(connection, digest)}"))
        return found


def _deliveries(connection: Connection) -> list[Delivery]:
    """Of each role the latest: an earlier picture in it was replaced at the same uri."""
    rows = connection.execute(
        select(job_output.c.job_id, job_output.c.role, job_output.c.digest, job_output.c.uri, job.c.state)
        .join_from(job_output, job).order_by(job_output.c.output_no))
    latest = {(row.job_id, row.role): Delivery(job_id=row.job_id, role=row.role, digest=row.digest, uri=row.uri,
                                               at_rest=row.state != "running") for row in rows}
    return list(latest.values())


def _whose(connection: Connection, digest: str) -> str:
    row = connection.execute(
        select(pass_execution.c.pass_name, pass_execution.c.job_id).join_from(pass_output, pass_execution)
        .where(pass_output.c.digest == digest, pass_execution.c.state == "succeeded").limit(1)).one_or_none()
    if row:
        return f"what {row.pass_name} made for job {row.job_id}"
    masked = connection.execute(select(mask_override.c.version).where(mask_override.c.mask_digest == digest)).first()
    return "a mask that a person set" if masked else "a photo as it was read"
