"""Masks that a person set for a photo, each new one a new version."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, Integer, PrimaryKeyConstraint, Text

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "mask_override",
        Column("photo_digest", Text, ForeignKey("artifact.digest", name="fk_mask_override_photo_digest"),
               nullable=False),
        Column("version", Integer, nullable=False),
        Column("mask_digest", Text, ForeignKey("artifact.digest", name="fk_mask_override_mask_digest"),
               nullable=False),
        Column("note", Text, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("removed_at", BigInteger),
        PrimaryKeyConstraint("photo_digest", "version", name="pk_mask_override"),
        CheckConstraint("version >= 1", name=op.f("ck_mask_override_counts_from_one")),
        Index("ix_mask_override_mask_digest", "mask_digest"),
    )


def downgrade() -> None:
    op.drop_table("mask_override")
