"""Lineage: who made what from what. Questions only; what is written, storage.ledger writes."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, select

from storage.ancestry import grow
from storage.answers import Change, Node, PassRow, Recorded, SourceRow, Why
from storage.database import Database, reads
from storage.digests import is_hex
from storage.errors import JobNotFound, OutputNotFound
from storage.masks import versions_of
from storage.nearest import changes, nearest
from storage.recorded import recorded
from storage.records import Artifact, Job, Judgement
from storage.rows import ARTIFACT, AnyRow, outputs_of, to_artifact, to_job, to_judgement
from storage.tables import artifact as artifacts
from storage.tables import (
    cache_key_part,
    job,
    job_measure,
    job_output,
    job_pass,
    pass_execution,
    pass_input,
    pass_model,
    source_observation,
)

__all__ = ["Change", "Lineage", "Node", "PassRow", "Recorded", "SourceRow", "Why"]

Output = tuple[str, Artifact, str]
"""(role, artifact, uri)"""


class Lineage:
    """Every question about a job raises JobNotFound for an id that is not in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @reads
    def job(self, connection: Connection, job_id: str) -> Job:
        return _job(connection, job_id)

    @reads
    def has_job(self, connection: Connection, job_id: str) -> bool:
        return connection.execute(select(job.c.job_id).where(job.c.job_id == job_id)).first() is not None

    @reads
    def jobs(self, connection: Connection, limit: int) -> list[Job]:
        """The jobs opened last, newest first."""
        return [to_job(row) for row in connection.execute(select(job).order_by(job.c.job_no.desc()).limit(limit))]

    @reads
    def passes(self, connection: Connection, job_id: str) -> list[PassRow]:
        """The job's passes in order, each with the execution it rests on."""
        _job(connection, job_id)
        return _passes(connection, job_id)

    @reads
    def recorded(self, connection: Connection, job_id: str) -> list[Recorded]:
        """The job's passes in order, each with all that is recorded of the execution it rests on."""
        _job(connection, job_id)
        passes = _passes(connection, job_id)
        known = _artifacts(connection, {digest for row in passes for digest in row.inputs.values()})
        return recorded(connection, passes, known)

    @reads
    def outputs(self, connection: Connection, job_id: str) -> list[Output]:
        """What the job delivered, in the order of delivery; of each role the latest picture, which lies at its uri."""
        _job(connection, job_id)
        return _outputs(connection, job_id)

    @reads
    def sources(self, connection: Connection, job_id: str) -> list[SourceRow]:
        """The files the job read."""
        _job(connection, job_id)
        return _sources(connection, job_id)

    @reads
    def judgements(self, connection: Connection, job_id: str) -> list[Judgement]:
        """How the job's final picture was found against its product; empty where the job did not come so far."""
        _job(connection, job_id)
        return [to_judgement(row) for row in connection.execute(
            select(job_measure).where(job_measure.c.job_id == job_id).order_by(job_measure.c.name))]

    @reads
    def find_output(self, connection: Connection, uri_or_digest: str) -> tuple[str, str, Artifact]:
        """(job_id, role, artifact) of a delivered picture by its uri, its local path or its digest (or the digest's
        first letters, at least 8); of several the latest. Raises OutputNotFound."""
        names = [uri_or_digest]
        if "://" not in uri_or_digest:
            names.append(f"file://{os.path.abspath(uri_or_digest)}")
        short = uri_or_digest if len(uri_or_digest) >= 8 and is_hex(uri_or_digest) else "no digest"
        row = connection.execute(
            select(job_output.c.job_id, job_output.c.role, *ARTIFACT).join_from(job_output, artifacts)
            .where(job_output.c.uri.in_(names) | job_output.c.digest.startswith(short))
            .order_by(job_output.c.output_no.desc()).limit(1)).one_or_none()
        if row is None:
            raise OutputNotFound("output", uri_or_digest, "no job delivered such a picture")
        return row.job_id, row.role, to_artifact(row)

    @reads
    def ancestry(self, connection: Connection, job_id: str, role: str = "final") -> Node:
        """The tree behind what the job delivered as `role`, down to the file that was read. Raises OutputNotFound."""
        _job(connection, job_id)
        delivered = {name: artifact for name, artifact, _ in _outputs(connection, job_id)}
        if role not in delivered:
            raise OutputNotFound("role", role, f"job {job_id} delivered {', '.join(delivered) or 'nothing'}")
        passes, sources = _passes(connection, job_id), _sources(connection, job_id)
        inputs = {digest for row in passes for digest in row.inputs.values()}
        known, masks = _artifacts(connection, inputs), versions_of(connection, inputs)
        return grow(role, delivered[role], passes, sources, known, masks)

    @reads
    def why(self, connection: Connection, job_id: str) -> list[Why]:
        """Of each pass of the job whether it was executed, reused or skipped; of an executed one, what was new."""
        _job(connection, job_id)
        return [_why(connection, job_id, row) for row in _passes(connection, job_id)]


def _job(connection: Connection, job_id: str) -> Job:
    row = connection.execute(select(job).where(job.c.job_id == job_id)).one_or_none()
    if row is None:
        raise JobNotFound(job_id)
    return to_job(row)


def _passes(connection: Connection, job_id: str) -> list[PassRow]:
    rows = connection.execute(
        select(job_pass, *(column.label(f"run_{column.name}") for column in pass_execution.c))
        .join_from(job_pass, pass_execution, isouter=True).where(job_pass.c.job_id == job_id)
        .order_by(job_pass.c.position, job_pass.c.at)).all()
    exec_ids = [row.exec_id for row in rows if row.exec_id]
    outputs = outputs_of(connection, exec_ids)
    params = _params(connection, [row.run_key for row in rows if row.run_key])
    inputs = _by_role(connection.execute(select(pass_input.c.exec_id, pass_input.c.role, pass_input.c.digest)
                                         .where(pass_input.c.exec_id.in_(exec_ids))).all())
    weights = _by_role(connection.execute(select(pass_model.c.exec_id, pass_model.c.role, pass_model.c.model_digest)
                                          .where(pass_model.c.exec_id.in_(exec_ids))).all())
    return [_pass(row, outputs, params, inputs, weights) for row in rows]


def _pass(row: AnyRow, outputs: dict[str, dict[str, Artifact]], params: dict[str, dict[str, Any]],
          inputs: dict[str, dict[str, str]], weights: dict[str, dict[str, str]]) -> PassRow:
    decided = {"at": row.at, "position": row.position, "pass_name": row.pass_name, "disposition": row.disposition,
               "reason": row.reason}
    if row.exec_id is None:
        return PassRow(**decided)
    return PassRow(
        **decided, key=row.run_key, generation=row.run_generation, exec_id=row.exec_id, made_by_job=row.run_job_id,
        seconds=row.run_seconds, model_calls=row.run_model_calls, params=params[row.run_key],
        inputs=inputs.get(row.exec_id, {}), outputs=outputs[row.exec_id], weights=weights.get(row.exec_id, {}),
        device=row.run_device, dtype=row.run_dtype, notes=tuple(row.run_notes), batch_size=row.run_batch_size or 1)


def _by_role(rows: Collection[AnyRow]) -> dict[str, dict[str, str]]:
    """(exec_id, role, digest) rows as {exec_id: {role: digest}}."""
    found: dict[str, dict[str, str]] = {}
    for exec_id, role, digest in rows:
        found.setdefault(exec_id, {})[role] = digest
    return found


def _params(connection: Connection, keys: Collection[str]) -> dict[str, dict[str, Any]]:
    """{key: {parameter: value}} out of the parts of the keys."""
    found: dict[str, dict[str, Any]] = {key: {} for key in keys}
    rows = connection.execute(select(cache_key_part).where(
        cache_key_part.c.key.in_(keys), cache_key_part.c.part.startswith("params.")))
    for row in rows:
        found[row.key][row.part.removeprefix("params.")] = json.loads(row.value)
    return found


def _outputs(connection: Connection, job_id: str) -> list[Output]:
    rows = connection.execute(
        select(job_output.c.role, job_output.c.uri, *ARTIFACT).join_from(job_output, artifacts)
        .where(job_output.c.job_id == job_id).order_by(job_output.c.output_no))
    latest: dict[str, Output] = {}
    for row in rows:
        latest.pop(row.role, None)  # a role delivered again moves to where its latest picture is in the order
        latest[row.role] = (row.role, to_artifact(row), row.uri)
    return list(latest.values())


def _sources(connection: Connection, job_id: str) -> list[SourceRow]:
    rows = connection.execute(
        select(source_observation, *ARTIFACT[1:]).join_from(source_observation, artifacts)
        .where(source_observation.c.job_id == job_id).order_by(source_observation.c.observation_no))
    return [SourceRow(uri=row.uri, version=row.version, size=row.size, mtime=row.mtime, reader=row.reader,
                      source_digest=row.source_digest, artifact=to_artifact(row), observed_at=row.observed_at,
                      notes=tuple(row.notes or ()))
            for row in rows]


def _artifacts(connection: Connection, digests: Collection[str]) -> dict[str, Artifact]:
    rows = connection.execute(select(*ARTIFACT).where(artifacts.c.digest.in_(digests)))
    return {row.digest: to_artifact(row) for row in rows}


def _why(connection: Connection, job_id: str, row: PassRow) -> Why:
    near = None
    if row.disposition == "executed" and row.exec_id and row.key:
        near = nearest(connection, job_id, row.at, row.exec_id)
    return Why(at=row.at, position=row.position, pass_name=row.pass_name, disposition=row.disposition,
               reason=row.reason, made_by_job=row.made_by_job, nearest_job=near.job_id if near else None,
               changes=changes(connection, near.key, row.key) if near and row.key else ())
