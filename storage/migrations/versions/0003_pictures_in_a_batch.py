"""How many pictures were computed together: their bits depend on it a little, so it is recorded."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Integer

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("pass_execution", Column("batch_size", Integer))


def downgrade() -> None:
    op.drop_column("pass_execution", "batch_size")
