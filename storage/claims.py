"""Facts about executions: who may compute a key, what came of it, and what a job rests on. Each is one transaction.

A key has generations: 1, and one more whenever a result is made anew although there was one (asked for by a refresh, or
because its bytes were lost). A generation has attempts, of which one succeeds at most; of a key one runs at most.
The newest generation that ended in a result answers for the key: a refresh that fails takes nothing away.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from sqlalchemy import ColumnElement, Connection, Table, and_, case, func, insert, select, update

from storage.database import Database, reads, writes
from storage.dialect import now, upsert
from storage.digests import canonical_json, sha256_hex
from storage.errors import FencedOff
from storage.records import Artifact, Busy, Claim, Disposition, Execution, KeyParts, RunFacts
from storage.rows import EXECUTION, AnyRow, know_artifacts, to_execution
from storage.tables import (
    cache_key_part,
    environment,
    job,
    job_pass,
    pass_execution,
    pass_input,
    pass_model,
    pass_output,
)
from storage.words import told

LONGEST_MESSAGE = 2000
"""Characters of a failure's message that are kept; CUDA's can run to pages."""

_run = pass_execution.c
_CLAIM = (_run.exec_id, _run.key, _run.generation, _run.attempt, _run.fence)


class ExecutionFacts:
    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(self, parts: KeyParts, *, job_id: str, worker: str, lease_seconds: int,
              refresh: bool = False) -> Claim | Execution | Busy:
        """The result of this key, or the right to compute it, or word that another worker is computing it.

        An execution whose lease has run out is failed (lease_expired) and its key claimed with a higher fence.
        refresh: a result counts only if this job already made it for a refresh, and was not completed since; so a job
        that is resumed does not refresh twice, and one that is run again refreshes again.
        """
        refreshed_by = job_id if refresh else None
        # The common case, a hit, takes no lock. The id is drawn out here, so that a rerun knows its own claim again.
        return self._known(parts.key, refreshed_by) or self._claim(
            uuid4().hex, parts, job_id, worker, lease_seconds, refreshed_by)

    @reads
    def _known(self, connection: Connection, key: str, refreshed_by: str | None) -> Execution | None:
        return _result(connection, key, refreshed_by)

    @writes
    def _claim(self, connection: Connection, exec_id: str, parts: KeyParts, job_id: str, worker: str,
               lease_seconds: int, refreshed_by: str | None) -> Claim | Execution | Busy:
        return (_result(connection, parts.key, refreshed_by) or _running(connection, parts.key, exec_id)
                or _begin(connection, exec_id, parts, job_id, worker, lease_seconds, refreshed_by))

    @writes
    def renew(self, connection: Connection, claim: Claim, lease_seconds: int) -> None:
        """Let the lease run from now. Raises FencedOff if the execution is not this claim's any more."""
        if not _change(connection, claim, lease_until=now() + lease_seconds):
            raise FencedOff(claim.exec_id)

    @writes
    def commit(self, connection: Connection, claim: Claim, parts: KeyParts, outputs: Mapping[str, Artifact],
               facts: RunFacts, *, job_id: str, at: str, position: int, reason: str) -> Execution:
        """Record the result of a claimed execution, and that the job's pass `at` rests on it; all of it or nothing.

        The bytes of `outputs` must be stored before. Committing the same again changes nothing. Raises FencedOff if the
        execution is not this claim's any more.
        """
        if not _change(
                connection, claim, state="succeeded", lease_until=None, ended_at=now(), seconds=facts.seconds,
                model_calls=facts.model_calls, device=facts.device, dtype=facts.dtype, peak_memory=facts.peak_memory,
                env_id=_environment(connection, facts.environment), notes=list(facts.notes),
                task_run_id=facts.task_run_id, batch_size=facts.batch_size):
            return _committed(connection, claim, outputs)
        know_artifacts(connection, outputs.values())
        _write_edges(connection, claim.exec_id, parts, outputs)
        _decide(connection, job_id, at, position, parts.pass_name, claim.exec_id, "executed", reason)
        return to_execution(connection, _row(connection, claim.exec_id))

    @writes
    def fail(self, connection: Connection, claim: Claim, failure_class: str, message: str) -> None:
        """Record that a claimed execution failed, which frees its key. Does nothing where the claim is not held any
        more: it is called while another error is on its way. Any message can be told."""
        _change(connection, claim, state="failed", lease_until=None, ended_at=now(), failure_class=failure_class,
                failure_message=told(message[:LONGEST_MESSAGE]))

    @writes
    def lose(self, connection: Connection, digest: str) -> None:
        """Record that these bytes are gone or damaged: no execution that made them answers for its key any more. One
        that makes them anew in this very moment may be counted among these; that costs one more run of it."""
        makers = select(pass_output.c.exec_id).where(pass_output.c.digest == digest)
        connection.execute(update(pass_execution).where(_run.state == "succeeded", _run.exec_id.in_(makers))
                           .values(state="lost"))

    @writes
    def rest_on(self, connection: Connection, job_id: str, at: str, position: int, execution: Execution,
                reason: str) -> None:
        """Record that the job's pass `at` reuses `execution`; where it ran that itself, it stays executed."""
        _decide(connection, job_id, at, position, execution.pass_name, execution.exec_id, "reused", reason)

    @writes
    def skip(self, connection: Connection, job_id: str, at: str, position: int, pass_name: str, reason: str) -> None:
        """Record that the job goes without a pass, and why."""
        _decide(connection, job_id, at, position, pass_name, None, "skipped", reason)


def _result(connection: Connection, key: str, refreshed_by: str | None) -> Execution | None:
    """The execution that answers for `key`; with `refreshed_by`, only where it is that job's own refresh."""
    row = connection.execute(
        select(*EXECUTION, _run.refresh_round).where(_run.key == key, _run.state.in_(("succeeded", "lost")))
        .order_by(_run.generation.desc()).limit(1)).one_or_none()
    if row is None or row.state == "lost":
        return None
    own_refresh = row.job_id == refreshed_by and row.refresh_round == _round(connection, row.job_id)
    return to_execution(connection, row) if refreshed_by is None or own_refresh else None


def _round(connection: Connection, job_id: str) -> int | None:
    return connection.execute(select(job.c.round).where(job.c.job_id == job_id)).scalar()


def _running(connection: Connection, key: str, exec_id: str) -> Claim | Busy | None:
    """Who is computing `key` under a living lease; the claim, where that is `exec_id` itself: an earlier try of this
    transaction made it. One whose lease is over is failed on the way."""
    row = connection.execute(select(*_CLAIM, (_run.lease_until - now()).label("left"))
                             .where(_run.key == key, _run.state == "running")).one_or_none()
    if row is None:
        return None
    if row.exec_id == exec_id:
        return Claim(**{column.name: getattr(row, column.name) for column in _CLAIM})
    if row.left >= 0:  # the clock counts whole seconds: at 0 the lease may have most of a second to go
        return Busy(exec_id=row.exec_id, seconds_left=max(1, row.left))
    connection.execute(update(pass_execution).where(_run.exec_id == row.exec_id).values(
        state="failed", lease_until=None, ended_at=now(), failure_class="lease_expired",
        failure_message=f"its worker did not renew the lease, which ended {-row.left} s ago"))
    return None


def _begin(connection: Connection, exec_id: str, parts: KeyParts, job_id: str, worker: str, lease_seconds: int,
           refreshed_by: str | None) -> Claim:
    ended = connection.execute(select(func.max(_run.generation)).where(
        _run.key == parts.key, _run.state.in_(("succeeded", "lost")))).scalar()
    generation = (ended or 0) + 1
    tried = connection.execute(select(func.max(_run.attempt)).where(
        _run.key == parts.key, _run.generation == generation)).scalar()
    attempt = (tried or 0) + 1
    fence = connection.execute(insert(pass_execution).values(
        exec_id=exec_id, key=parts.key, generation=generation, attempt=attempt, pass_name=parts.pass_name,
        pass_version=parts.pass_version, job_id=job_id, worker=worker, state="running", started_at=now(),
        lease_until=now() + lease_seconds, refresh_round=_round(connection, refreshed_by) if refreshed_by else None,
    ).returning(_run.fence)).scalar_one()
    connection.execute(
        upsert(connection, cache_key_part).on_conflict_do_nothing(),
        [{"key": parts.key, "part": part, "value": canonical_json(value).decode()}
         for part, value in parts.parts().items()])
    return Claim(exec_id=exec_id, key=parts.key, generation=generation, attempt=attempt, fence=fence)


def _held(claim: Claim) -> ColumnElement[bool]:
    """Is the execution still this claim's? Not once it ended or was taken over, whatever this worker believes."""
    return and_(_run.exec_id == claim.exec_id, _run.fence == claim.fence, _run.state == "running")


def _change(connection: Connection, claim: Claim, **values: Any) -> bool:
    """Change the execution if it is still this claim's; was it?"""
    return connection.execute(update(pass_execution).where(_held(claim)).values(**values)).rowcount == 1


def _committed(connection: Connection, claim: Claim, outputs: Mapping[str, Artifact]) -> Execution:
    """The execution, if this very claim already committed these very outputs: its answer was lost. Else FencedOff."""
    row = connection.execute(select(*EXECUTION).where(
        _run.exec_id == claim.exec_id, _run.fence == claim.fence, _run.state == "succeeded")).one_or_none()
    execution = None if row is None else to_execution(connection, row)
    if execution is None or execution.outputs != dict(outputs):
        raise FencedOff(claim.exec_id)
    return execution


def _environment(connection: Connection, versions: Mapping[str, str]) -> str:
    env_id = sha256_hex(canonical_json(versions))
    connection.execute(upsert(connection, environment).values(env_id=env_id, versions=dict(versions), created_at=now())
                       .on_conflict_do_nothing())
    return env_id


def _write_edges(connection: Connection, exec_id: str, parts: KeyParts, outputs: Mapping[str, Artifact]) -> None:
    """What the execution read and made, by role."""
    rows: dict[Table, list[dict[str, Any]]] = {
        pass_input: [{"role": role, "digest": digest} for role, digest in parts.inputs.items()],
        pass_output: [{"role": role, "ordinal": ordinal, "digest": artifact.digest}
                      for ordinal, (role, artifact) in enumerate(outputs.items())],
        pass_model: [{"role": role, "model_digest": digest} for role, digest in parts.weights.items()],
    }
    for table, edges in rows.items():
        if edges:
            connection.execute(insert(table), [{"exec_id": exec_id, **edge} for edge in edges])


def _decide(connection: Connection, job_id: str, at: str, position: int, pass_name: str, exec_id: str | None,
            disposition: Disposition, reason: str) -> None:
    """The row of a job's pass. A pass that already rests on this execution keeps how it came to, and since when."""
    statement = upsert(connection, job_pass).values(
        job_id=job_id, at=at, position=position, pass_name=pass_name, exec_id=exec_id, disposition=disposition,
        reason=reason, decided_at=now())
    same, new = job_pass.c.exec_id == statement.excluded.exec_id, statement.excluded
    connection.execute(statement.on_conflict_do_update(index_elements=["job_id", "at"], set_={
        "position": new.position, "pass_name": new.pass_name, "exec_id": new.exec_id,
        **{name: case((same, job_pass.c[name]), else_=new[name]) for name in ("disposition", "reason", "decided_at")}}))


def _row(connection: Connection, exec_id: str) -> AnyRow:
    return connection.execute(select(*EXECUTION).where(_run.exec_id == exec_id)).one()
