"""From rows to records, for the ledger and for lineage."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import Connection, Row, select

from storage.dialect import now, upsert
from storage.records import Artifact, Execution, Job, Judgement
from storage.tables import artifact, pass_execution, pass_output

AnyRow = Row[*tuple[Any, ...]]

ARTIFACT = (artifact.c.digest, artifact.c.media_type, artifact.c.bytes, artifact.c.width, artifact.c.height)
EXECUTION = (pass_execution.c.exec_id, pass_execution.c.key, pass_execution.c.generation, pass_execution.c.attempt,
             pass_execution.c.pass_name, pass_execution.c.job_id, pass_execution.c.state, pass_execution.c.model_calls,
             pass_execution.c.seconds, pass_execution.c.ended_at, pass_execution.c.notes)


def to_artifact(row: AnyRow) -> Artifact:
    return Artifact(digest=row.digest, media_type=row.media_type, bytes=row.bytes, width=row.width, height=row.height)


def to_execution(connection: Connection, row: AnyRow) -> Execution:
    """The execution of a finished `row`, with its outputs."""
    facts = {column.name: getattr(row, column.name) for column in EXECUTION}
    return Execution(**{**facts, "notes": tuple(row.notes or ())},
                     outputs=outputs_of(connection, [row.exec_id])[row.exec_id])


def to_job(row: AnyRow) -> Job:
    return Job(job_id=row.job_id, pipeline=row.pipeline, profile=row.profile, requested=row.requested,
               resolved=row.resolved, schema_version=row.schema_version, flow_run_id=row.flow_run_id, state=row.state,
               error=row.error, created_at=row.created_at, finished_at=row.finished_at)


def to_judgement(row: AnyRow) -> Judgement:
    return Judgement(name=row.name, version=row.version, value=row.value, limit=row.limit_value, verdict=row.verdict,
                     said=row.said)


def outputs_of(connection: Connection, exec_ids: Collection[str]) -> dict[str, dict[str, Artifact]]:
    """{exec_id: {role: artifact}}, the roles in the order the pass returned them."""
    found: dict[str, dict[str, Artifact]] = {exec_id: {} for exec_id in exec_ids}
    rows = connection.execute(
        select(pass_output.c.exec_id, pass_output.c.role, *ARTIFACT).join_from(pass_output, artifact)
        .where(pass_output.c.exec_id.in_(exec_ids)).order_by(pass_output.c.exec_id, pass_output.c.ordinal))
    for row in rows:
        found[row.exec_id][row.role] = to_artifact(row)
    return found


def know_artifacts(connection: Connection, artifacts: Iterable[Artifact]) -> None:
    """Write the rows of these artifacts where they are not there yet."""
    rows = [{"digest": one.digest, "media_type": one.media_type, "bytes": one.bytes, "width": one.width,
             "height": one.height} for one in artifacts]
    if rows:
        connection.execute(upsert(connection, artifact).values(created_at=now()).on_conflict_do_nothing(), rows)
