"""Facts about jobs: what was asked, which photo was read, what was delivered, how it ended. Each is one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

from sqlalchemy import Connection, delete, insert, select, update

from storage.database import Database, reads, writes
from storage.dialect import now, upsert
from storage.digests import canonical_json
from storage.errors import JobConflict, JobNotFound
from storage.records import Artifact, Job, Judgement, KnownPhoto, ModelFile, NewJob
from storage.rows import ARTIFACT, AnyRow, know_artifacts, to_artifact, to_job, to_judgement
from storage.tables import artifact as artifacts
from storage.tables import job, job_measure, job_output, model_file, source_observation
from storage.words import NotText, told

Closing = Literal["completed", "needs_review", "failed", "interrupted"]
MADE = ("completed", "needs_review")
"""States of a job whose pictures are all made."""


class JobFacts:
    def __init__(self, database: Database) -> None:
        self._database = database

    @writes
    def open_job(self, connection: Connection, new: NewJob) -> Job:
        """Store the job and set it running; the stored job. Opened again, it keeps the resolved document of the first
        time. Raises JobConflict where its job_id belongs to another requested document, pipeline or profile; NotText
        for a document that has no spelling, and so could not be compared."""
        _refuse_unspelt({**new.requested, **new.resolved})
        stored = connection.execute(select(job).where(job.c.job_id == new.job_id)).one_or_none()
        if stored is None:
            connection.execute(insert(job).values(
                job_id=new.job_id, pipeline=new.pipeline, profile=new.profile, requested=dict(new.requested),
                resolved=dict(new.resolved), schema_version=new.schema_version, flow_run_id=new.flow_run_id,
                round=1, state="running", created_at=now()))
        else:
            if differs := _differences(stored, new):
                raise JobConflict(new.job_id, differs)
            # A rerun finds the job running, so it counts no second round.
            connection.execute(update(job).where(job.c.job_id == new.job_id).values(
                state="running", error=None, finished_at=None, flow_run_id=new.flow_run_id,
                round=stored.round + (stored.state in MADE)))
        return to_job(connection.execute(select(job).where(job.c.job_id == new.job_id)).one())

    @writes
    def close_job(self, connection: Connection, job_id: str, state: Closing,
                  error: Mapping[str, Any] | None = None, *, flow_run_id: str | None = None) -> None:
        """Record how the job ended; error: why, where it failed or was interrupted.

        flow_run_id: the run that ends. Where another has opened the job since, its failure is not the job's; its
        success is: everything is made and delivered.
        """
        stored = connection.execute(select(job.c.flow_run_id).where(job.c.job_id == job_id)).one_or_none()
        if stored is None:
            raise JobNotFound(job_id)
        if state in MADE or flow_run_id in (None, stored.flow_run_id):
            connection.execute(update(job).where(job.c.job_id == job_id).values(
                state=state, error=None if error is None else dict(error), finished_at=now()))

    @writes
    def observe_source(self, connection: Connection, job_id: str, uri: str, version: str, size: int,
                       mtime: float | None, source_digest: str, artifact: Artifact, reader: str,
                       notes: Sequence[str] = ()) -> None:
        """Record that the job read `uri`, whose bytes were `source_digest`, and that `reader` made `artifact` of them.

        reader: the decoder with its version; notes: what it had to tell, in clauses. Recording the same again changes
        nothing but the artifact, the notes and the time.
        """
        know_artifacts(connection, [artifact])
        statement = upsert(connection, source_observation).values(
            job_id=job_id, uri=uri, version=version, size=size, mtime=mtime, source_digest=source_digest,
            reader=reader, digest=artifact.digest, observed_at=now(), notes=list(notes))
        connection.execute(statement.on_conflict_do_update(
            index_elements=["job_id", "uri", "version", "source_digest", "reader"],
            set_={name: statement.excluded[name] for name in ("digest", "observed_at", "notes")}))

    @reads
    def known_source(self, connection: Connection, source_digest: str, reader: str) -> KnownPhoto | None:
        """What `reader` made of these very bytes last time, so that an unchanged photo is not decoded again."""
        row = connection.execute(
            select(*ARTIFACT, source_observation.c.notes).join_from(source_observation, artifacts)
            .where(source_observation.c.source_digest == source_digest, source_observation.c.reader == reader)
            .order_by(source_observation.c.observation_no.desc()).limit(1)).one_or_none()
        return None if row is None else KnownPhoto(artifact=to_artifact(row), notes=tuple(row.notes or ()))

    @writes
    def record_output(self, connection: Connection, job_id: str, role: str, artifact: Artifact, uri: str) -> None:
        """Record a delivery. The same picture in the same role twice is one row, and counts as delivered just now: of
        a role's pictures the latest is the one that lies at the uri."""
        know_artifacts(connection, [artifact])
        connection.execute(delete(job_output).where(
            job_output.c.job_id == job_id, job_output.c.role == role, job_output.c.digest == artifact.digest))
        connection.execute(insert(job_output).values(
            job_id=job_id, role=role, digest=artifact.digest, uri=uri, published_at=now()))

    @writes
    def withdraw_output(self, connection: Connection, job_id: str, role: str, artifact: Artifact) -> bool:
        """Nothing is delivered in this role any more, if this picture was the latest; is there nothing now?"""
        mine = (job_output.c.job_id == job_id) & (job_output.c.role == role)
        latest = connection.execute(
            select(job_output.c.digest).where(mine).order_by(job_output.c.output_no.desc()).limit(1)).scalar()
        if latest == artifact.digest:
            connection.execute(delete(job_output).where(mine))
        return latest in (None, artifact.digest)

    @writes
    def record_judgements(self, connection: Connection, job_id: str, placed: Artifact, picture: Artifact,
                          judgements: Sequence[Judgement]) -> None:
        """Record how the job's final picture was found against its placed product, in place of what was found before.
        Both are outputs of executions of ours."""
        connection.execute(delete(job_measure).where(job_measure.c.job_id == job_id))
        if judgements:
            connection.execute(insert(job_measure), [
                {"job_id": job_id, "name": one.name, "version": one.version, "value": one.value,
                 "limit_value": one.limit, "verdict": one.verdict, "said": told(one.said),
                 "placed_digest": placed.digest, "digest": picture.digest} for one in judgements])

    @reads
    def known_judgements(self, connection: Connection, placed: Artifact, picture: Artifact,
                         version: int) -> list[Judgement]:
        """What some job found of these very pictures; empty where none did by this version of the measures."""
        found = select(job_measure.c.job_id).where(
            job_measure.c.placed_digest == placed.digest, job_measure.c.digest == picture.digest,
            job_measure.c.version == version).limit(1).scalar_subquery()
        return [to_judgement(row) for row in connection.execute(
            select(job_measure).where(job_measure.c.job_id == found).order_by(job_measure.c.name))]

    @writes
    def record_model(self, connection: Connection, model_digest: str, files: Sequence[ModelFile]) -> None:
        """Record which files the model of this digest (what pass keys name) is made of. Idempotent."""
        if files:
            connection.execute(upsert(connection, model_file).on_conflict_do_nothing(),
                               [{"model_digest": model_digest, **asdict(file)} for file in files])


def _refuse_unspelt(document: Mapping[str, Any]) -> None:
    for name, value in document.items():
        try:
            canonical_json({name: value})
        except UnicodeEncodeError:
            raise NotText(name, str(value)) from None


def _differences(stored: AnyRow, new: NewJob) -> tuple[str, ...]:
    """The names of what `new` asks otherwise than the stored job: pipeline, profile, fields of the document."""
    before = {"pipeline": stored.pipeline, "profile": stored.profile, **stored.requested}
    after = {"pipeline": new.pipeline, "profile": new.profile, **new.requested}
    return tuple(name for name in sorted(before.keys() | after.keys())
                 if name not in before or name not in after
                 or canonical_json(before[name]) != canonical_json(after[name]))
