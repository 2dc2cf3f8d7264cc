"""What the decoder had to tell of a photo, beside the picture it made of it."""

from __future__ import annotations

from alembic import op
from sqlalchemy import JSON, Column

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("source_observation", Column("notes", JSON(none_as_null=True)))


def downgrade() -> None:
    op.drop_column("source_observation", "notes")
