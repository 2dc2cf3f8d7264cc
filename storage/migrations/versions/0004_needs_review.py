"""How true a job's final picture is to its product, and the state of a job whose picture a person must look at."""

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
    PrimaryKeyConstraint,
    Text,
    UniqueConstraint,
)

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

BEFORE = ("running", "completed", "failed", "interrupted")
SINCE = ("running", "completed", "needs_review", "failed", "interrupted")


def upgrade() -> None:
    _states(SINCE)
    op.create_table(
        "job_measure",
        Column("job_id", Text, ForeignKey("job.job_id", name="fk_job_measure_job_id"), nullable=False),
        Column("name", Text, nullable=False),
        Column("version", Integer, nullable=False),
        Column("value", Float),
        Column("limit_value", Float),
        Column("verdict", Text, nullable=False),
        Column("said", Text, nullable=False),
        Column("placed_digest", Text, ForeignKey("artifact.digest", name="fk_job_measure_placed_digest"),
               nullable=False),
        Column("digest", Text, ForeignKey("artifact.digest", name="fk_job_measure_digest"), nullable=False),
        PrimaryKeyConstraint("job_id", "name", name="pk_job_measure"),
        CheckConstraint("verdict IN ('pass', 'fail', 'abstain', 'reported')", name=op.f("ck_job_measure_verdict")),
        CheckConstraint("(verdict = 'abstain') = (value IS NULL)",
                        name=op.f("ck_job_measure_abstains_without_a_value")),
        Index("ix_job_measure_pictures", "placed_digest", "digest"),
    )


def downgrade() -> None:
    """A job that needs review goes back as interrupted: the version before would otherwise refuse its state."""
    op.drop_table("job_measure")
    op.execute("UPDATE job SET state = 'interrupted' WHERE state = 'needs_review'")
    _states(BEFORE)


def _states(after: tuple[str, ...]) -> None:
    """SQLite cannot change a constraint: there the table is made anew and its rows copied."""
    if op.get_bind().dialect.name != "sqlite":
        op.drop_constraint(op.f("ck_job_state"), "job", type_="check")
        op.create_check_constraint(op.f("ck_job_state"), "job", _one_of(after))
        return
    _make_job("job_anew", after)
    op.execute("INSERT INTO job_anew SELECT * FROM job")
    op.drop_table("job")
    op.rename_table("job_anew", "job")
    op.create_index("ix_job_state", "job", ["state"])


def _one_of(states: tuple[str, ...]) -> str:
    return f"state IN ({', '.join(map(repr, states))})"


def _make_job(name: str, states: tuple[str, ...]) -> None:
    """As 0001 did, but for the states."""
    json = JSON(none_as_null=True)
    op.create_table(
        name,
        Column("job_no", Integer, nullable=False),
        Column("job_id", Text, nullable=False),
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
        CheckConstraint(_one_of(states), name=op.f("ck_job_state")),
        CheckConstraint("(state = 'running') = (finished_at IS NULL)", name=op.f("ck_job_ends_when_it_is_over")),
        CheckConstraint("error IS NULL OR state IN ('failed', 'interrupted')",
                        name=op.f("ck_job_no_error_where_none_happened")),
        PrimaryKeyConstraint("job_no", name=op.f("pk_job")),
        UniqueConstraint("job_id", name=op.f("uq_job_job_id")),
        sqlite_autoincrement=True,
    )
