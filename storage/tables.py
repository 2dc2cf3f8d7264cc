"""The tables of lineage. What must hold is a constraint here, so that no bug above can store otherwise.

Times are whole unix seconds of the database's clock. `fence`, `job_no`, `output_no` count rows in the order of their
writing, which times of whole seconds cannot. A change here needs a migration; a test compares the two.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    text,
)
from sqlalchemy.schema import SchemaItem

from storage.words import Words

metadata = MetaData(naming_convention={
    "ix": "ix_%(table_name)s_%(column_0_N_name)s", "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s", "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
})

_Counter = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts by itself only under this very word
_Json = JSON(none_as_null=True)


def _text(name: str, *more: SchemaItem, **options: Any) -> Column[str]:
    return Column(name, Words(name), *more, **options)


def _digest(name: str) -> CheckConstraint:
    return CheckConstraint(f"length({name}) = 64", name=f"{name}_is_a_digest")


artifact = Table(
    "artifact", metadata,
    _text("digest", primary_key=True),
    _text("media_type", nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    _digest("digest"),
    CheckConstraint("bytes > 0 AND width > 0 AND height > 0", name="has_a_size"),
)

job = Table(
    "job", metadata,
    Column("job_no", _Counter, primary_key=True),
    _text("job_id", nullable=False, unique=True),
    _text("pipeline", nullable=False),
    _text("profile", nullable=False),
    Column("requested", _Json, nullable=False),
    Column("resolved", _Json, nullable=False),
    Column("schema_version", Integer, nullable=False),
    _text("flow_run_id"),
    Column("round", Integer, nullable=False),  # 1, and one more each time a completed job is run again
    _text("state", nullable=False),
    Column("error", _Json),
    Column("created_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    CheckConstraint("state IN ('running', 'completed', 'needs_review', 'failed', 'interrupted')", name="state"),
    CheckConstraint("(state = 'running') = (finished_at IS NULL)", name="ends_when_it_is_over"),
    CheckConstraint("error IS NULL OR state IN ('failed', 'interrupted')", name="no_error_where_none_happened"),
    Index("ix_job_state", "state"),
    sqlite_autoincrement=True,
)

environment = Table(
    "environment", metadata,
    _text("env_id", primary_key=True),  # the digest of `versions`
    Column("versions", _Json, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    _digest("env_id"),
)

pass_execution = Table(
    "pass_execution", metadata,
    Column("fence", _Counter, primary_key=True),  # a later claim always has the higher one, and numbers never return
    _text("exec_id", nullable=False, unique=True),
    _text("key", nullable=False),
    Column("generation", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    _text("pass_name", nullable=False),
    Column("pass_version", Integer, nullable=False),
    _text("job_id", ForeignKey("job.job_id"), nullable=False),
    Column("refresh_round", Integer),  # the job's round, where it asked for this execution although a result existed
    _text("worker", nullable=False),
    _text("state", nullable=False),
    Column("lease_until", BigInteger),
    _text("failure_class"),
    _text("failure_message"),
    Column("started_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("seconds", Float),
    Column("model_calls", Integer),
    _text("device"),
    _text("dtype"),
    Column("peak_memory", BigInteger),
    _text("env_id", ForeignKey("environment.env_id")),
    Column("notes", _Json),
    _text("task_run_id"),
    _digest("key"),
    Column("batch_size", Integer),  # NULL: made before it was recorded, alone
    CheckConstraint("generation >= 1 AND attempt >= 1", name="counts_from_one"),
    CheckConstraint("state IN ('running', 'succeeded', 'failed', 'lost')", name="state"),
    CheckConstraint("(state = 'running') = (lease_until IS NOT NULL)", name="leased_while_running"),
    CheckConstraint("(state = 'running') = (ended_at IS NULL)", name="ends_when_it_is_over"),
    CheckConstraint("(state = 'failed') = (failure_class IS NOT NULL)", name="failed_with_a_class"),
    CheckConstraint("state NOT IN ('succeeded', 'lost') OR (seconds IS NOT NULL AND model_calls IS NOT NULL AND device "
                    "IS NOT NULL AND dtype IS NOT NULL AND env_id IS NOT NULL)", name="success_has_its_facts"),
    UniqueConstraint("key", "generation", "attempt"),
    Index("uq_one_success_a_generation", "key", "generation", unique=True,
          sqlite_where=text("state = 'succeeded'"), postgresql_where=text("state = 'succeeded'")),
    Index("uq_one_running_a_key", "key", unique=True,
          sqlite_where=text("state = 'running'"), postgresql_where=text("state = 'running'")),
    Index("ix_pass_execution_running", "lease_until",
          sqlite_where=text("state = 'running'"), postgresql_where=text("state = 'running'")),
    Index("ix_pass_execution_pass_name_state", "pass_name", "state"),
    Index("ix_pass_execution_job_id", "job_id"),
    sqlite_autoincrement=True,
)

pass_input = Table(
    "pass_input", metadata,
    _text("exec_id", ForeignKey("pass_execution.exec_id"), nullable=False),
    _text("role", nullable=False),
    _text("digest", ForeignKey("artifact.digest"), nullable=False),
    PrimaryKeyConstraint("exec_id", "role"),
    Index("ix_pass_input_digest", "digest"),
)

pass_output = Table(
    "pass_output", metadata,
    _text("exec_id", ForeignKey("pass_execution.exec_id"), nullable=False),
    _text("role", nullable=False),
    Column("ordinal", Integer, nullable=False),
    _text("digest", ForeignKey("artifact.digest"), nullable=False),
    PrimaryKeyConstraint("exec_id", "role"),
    UniqueConstraint("exec_id", "ordinal"),
    Index("ix_pass_output_digest", "digest"),
)

pass_model = Table(
    "pass_model", metadata,
    _text("exec_id", ForeignKey("pass_execution.exec_id"), nullable=False),
    _text("role", nullable=False),
    _text("model_digest", nullable=False),  # no foreign key: the tiny models are drawn and have no files
    PrimaryKeyConstraint("exec_id", "role"),
    _digest("model_digest"),
    Index("ix_pass_model_model_digest", "model_digest"),
)

model_file = Table(
    "model_file", metadata,
    _text("model_digest", nullable=False),
    _text("repo", nullable=False),
    _text("path", nullable=False),
    _text("revision"),
    _text("sha256", nullable=False),
    Column("bytes", BigInteger, nullable=False),
    _text("licence", nullable=False),
    _text("commercial_use", nullable=False),
    PrimaryKeyConstraint("model_digest", "repo", "path"),
    _digest("model_digest"),
    _digest("sha256"),
    CheckConstraint("commercial_use IN ('yes', 'restricted', 'no', 'unknown')", name="commercial_use"),
    Index("ix_model_file_sha256", "sha256"),
)

cache_key_part = Table(
    "cache_key_part", metadata,
    _text("key", nullable=False),
    _text("part", nullable=False),
    _text("value", nullable=False),  # canonical JSON: equal values are equal text
    PrimaryKeyConstraint("key", "part"),
    _digest("key"),
)

job_pass = Table(
    "job_pass", metadata,
    _text("job_id", ForeignKey("job.job_id"), nullable=False),
    _text("at", nullable=False),
    Column("position", Integer, nullable=False),
    _text("pass_name", nullable=False),
    _text("exec_id", ForeignKey("pass_execution.exec_id")),
    _text("disposition", nullable=False),
    _text("reason", nullable=False),
    Column("decided_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("job_id", "at"),
    CheckConstraint("disposition IN ('executed', 'reused', 'skipped')", name="disposition"),
    CheckConstraint("(disposition = 'skipped') = (exec_id IS NULL)", name="rests_on_an_execution_or_is_skipped"),
    Index("ix_job_pass_exec_id", "exec_id"),
)

job_measure = Table(  # how true a job's final picture is to its product
    "job_measure", metadata,
    _text("job_id", ForeignKey("job.job_id"), nullable=False),
    _text("name", nullable=False),
    Column("version", Integer, nullable=False),
    Column("value", Float),  # NULL: the measure abstained
    Column("limit_value", Float),  # NULL: only reported
    _text("verdict", nullable=False),
    _text("said", nullable=False),
    _text("placed_digest", ForeignKey("artifact.digest"), nullable=False),
    _text("digest", ForeignKey("artifact.digest"), nullable=False),
    PrimaryKeyConstraint("job_id", "name"),
    CheckConstraint("verdict IN ('pass', 'fail', 'abstain', 'reported')", name="verdict"),
    CheckConstraint("(verdict = 'abstain') = (value IS NULL)", name="abstains_without_a_value"),
    Index("ix_job_measure_pictures", "placed_digest", "digest"),
)

job_output = Table(
    "job_output", metadata,
    Column("output_no", _Counter, primary_key=True),
    _text("job_id", ForeignKey("job.job_id"), nullable=False),
    _text("role", nullable=False),
    _text("digest", ForeignKey("artifact.digest"), nullable=False),
    _text("uri", nullable=False),
    Column("published_at", BigInteger, nullable=False),
    UniqueConstraint("job_id", "role", "digest"),
    Index("ix_job_output_uri", "uri"),
    Index("ix_job_output_digest", "digest"),
    sqlite_autoincrement=True,
)

mask_override = Table(  # what a person says the product of a photo is; the newest version that stands counts
    "mask_override", metadata,
    _text("photo_digest", ForeignKey("artifact.digest"), nullable=False),
    Column("version", Integer, nullable=False),
    _text("mask_digest", ForeignKey("artifact.digest"), nullable=False),
    _text("note", nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("removed_at", BigInteger),  # NULL: stands, unless a later version followed
    PrimaryKeyConstraint("photo_digest", "version"),
    CheckConstraint("version >= 1", name="counts_from_one"),
    Index("ix_mask_override_mask_digest", "mask_digest"),
)

source_observation = Table(
    "source_observation", metadata,
    Column("observation_no", _Counter, primary_key=True),
    _text("job_id", ForeignKey("job.job_id"), nullable=False),
    _text("uri", nullable=False),
    _text("version", nullable=False),  # an object's version or eTag; of a local file its size and mtime
    Column("size", BigInteger, nullable=False),
    Column("mtime", Float),
    _text("source_digest", nullable=False),
    _text("reader", nullable=False),  # the decoder's version: another one may read other pixels
    _text("digest", ForeignKey("artifact.digest"), nullable=False),
    Column("observed_at", BigInteger, nullable=False),
    Column("notes", _Json),  # what the decoder had to tell; NULL: it was read before anyone asked
    UniqueConstraint("job_id", "uri", "version", "source_digest", "reader"),
    _digest("source_digest"),
    Index("ix_source_observation_source_digest_reader", "source_digest", "reader"),
    Index("ix_source_observation_digest", "digest"),
    sqlite_autoincrement=True,
)
