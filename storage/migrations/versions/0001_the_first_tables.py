"""The first tables, as they were then: storage/tables.py goes on changing, this does not."""

from __future__ import annotations

from alembic import op
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
    Text,
    UniqueConstraint,
    text,
)

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

metadata = MetaData(naming_convention={
    "ix": "ix_%(table_name)s_%(column_0_N_name)s", "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s", "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
})

counter = BigInteger().with_variant(Integer, "sqlite")
json = JSON(none_as_null=True)


def digest(name: str) -> CheckConstraint:
    return CheckConstraint(f"length({name}) = 64", name=f"{name}_is_a_digest")


Table(
    "artifact", metadata,
    Column("digest", Text, primary_key=True),
    Column("media_type", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    digest("digest"),
    CheckConstraint("bytes > 0 AND width > 0 AND height > 0", name="has_a_size"),
)

Table(
    "job", metadata,
    Column("job_no", counter, primary_key=True),
    Column("job_id", Text, nullable=False, unique=True),
    Column("pipeline", Text, nullable=False),
    Column("profile", Text, nullable=False),
    Column("requested", json, nullable=False),
    Column("resolved", json, nullable=False),
    Column("schema_version", Integer, nullable=False),
    Column("flow_run_id", Text),
    Column("round", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("error", json),
    Column("created_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    CheckConstraint("state IN ('running', 'completed', 'failed', 'interrupted')", name="state"),
    CheckConstraint("(state = 'running') = (finished_at IS NULL)", name="ends_when_it_is_over"),
    CheckConstraint("error IS NULL OR state IN ('failed', 'interrupted')", name="no_error_where_none_happened"),
    Index("ix_job_state", "state"),
    sqlite_autoincrement=True,
)

Table(
    "environment", metadata,
    Column("env_id", Text, primary_key=True),
    Column("versions", json, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    digest("env_id"),
)

Table(
    "pass_execution", metadata,
    Column("fence", counter, primary_key=True),
    Column("exec_id", Text, nullable=False, unique=True),
    Column("key", Text, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("pass_name", Text, nullable=False),
    Column("pass_version", Integer, nullable=False),
    Column("job_id", Text, ForeignKey("job.job_id"), nullable=False),
    Column("refresh_round", Integer),
    Column("worker", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("lease_until", BigInteger),
    Column("failure_class", Text),
    Column("failure_message", Text),
    Column("started_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("seconds", Float),
    Column("model_calls", Integer),
    Column("device", Text),
    Column("dtype", Text),
    Column("peak_memory", BigInteger),
    Column("env_id", Text, ForeignKey("environment.env_id")),
    Column("notes", json),
    Column("task_run_id", Text),
    digest("key"),
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

Table(
    "pass_input", metadata,
    Column("exec_id", Text, ForeignKey("pass_execution.exec_id"), nullable=False),
    Column("role", Text, nullable=False),
    Column("digest", Text, ForeignKey("artifact.digest"), nullable=False),
    PrimaryKeyConstraint("exec_id", "role"),
    Index("ix_pass_input_digest", "digest"),
)

Table(
    "pass_output", metadata,
    Column("exec_id", Text, ForeignKey("pass_execution.exec_id"), nullable=False),
    Column("role", Text, nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("digest", Text, ForeignKey("artifact.digest"), nullable=False),
    PrimaryKeyConstraint("exec_id", "role"),
    UniqueConstraint("exec_id", "ordinal"),
    Index("ix_pass_output_digest", "digest"),
)

Table(
    "pass_model", metadata,
    Column("exec_id", Text, ForeignKey("pass_execution.exec_id"), nullable=False),
    Column("role", Text, nullable=False),
    Column("model_digest", Text, nullable=False),
    PrimaryKeyConstraint("exec_id", "role"),
    digest("model_digest"),
    Index("ix_pass_model_model_digest", "model_digest"),
)

Table(
    "model_file", metadata,
    Column("model_digest", Text, nullable=False),
    Column("repo", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("revision", Text),
    Column("sha256", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("licence", Text, nullable=False),
    Column("commercial_use", Text, nullable=False),
    PrimaryKeyConstraint("model_digest", "repo", "path"),
    digest("model_digest"),
    digest("sha256"),
    CheckConstraint("commercial_use IN ('yes', 'restricted', 'no', 'unknown')", name="commercial_use"),
    Index("ix_model_file_sha256", "sha256"),
)

Table(
    "cache_key_part", metadata,
    Column("key", Text, nullable=False),
    Column("part", Text, nullable=False),
    Column("value", Text, nullable=False),
    PrimaryKeyConstraint("key", "part"),
    digest("key"),
)

Table(
    "job_pass", metadata,
    Column("job_id", Text, ForeignKey("job.job_id"), nullable=False),
    Column("at", Text, nullable=False),
    Column("position", Integer, nullable=False),
    Column("pass_name", Text, nullable=False),
    Column("exec_id", Text, ForeignKey("pass_execution.exec_id")),
    Column("disposition", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("decided_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("job_id", "at"),
    CheckConstraint("disposition IN ('executed', 'reused', 'skipped')", name="disposition"),
    CheckConstraint("(disposition = 'skipped') = (exec_id IS NULL)", name="rests_on_an_execution_or_is_skipped"),
    Index("ix_job_pass_exec_id", "exec_id"),
)

Table(
    "job_output", metadata,
    Column("output_no", counter, primary_key=True),
    Column("job_id", Text, ForeignKey("job.job_id"), nullable=False),
    Column("role", Text, nullable=False),
    Column("digest", Text, ForeignKey("artifact.digest"), nullable=False),
    Column("uri", Text, nullable=False),
    Column("published_at", BigInteger, nullable=False),
    UniqueConstraint("job_id", "role", "digest"),
    Index("ix_job_output_uri", "uri"),
    Index("ix_job_output_digest", "digest"),
    sqlite_autoincrement=True,
)

Table(
    "source_observation", metadata,
    Column("observation_no", counter, primary_key=True),
    Column("job_id", Text, ForeignKey("job.job_id"), nullable=False),
    Column("uri", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("mtime", Float),
    Column("source_digest", Text, nullable=False),
    Column("reader", Text, nullable=False),
    Column("digest", Text, ForeignKey("artifact.digest"), nullable=False),
    Column("observed_at", BigInteger, nullable=False),
    UniqueConstraint("job_id", "uri", "version", "source_digest", "reader"),
    digest("source_digest"),
    Index("ix_source_observation_source_digest_reader", "source_digest", "reader"),
    Index("ix_source_observation_digest", "digest"),
    sqlite_autoincrement=True,
)


def upgrade() -> None:
    metadata.create_all(op.get_bind())


def downgrade() -> None:
    metadata.drop_all(op.get_bind())
