"""How Alembic reaches the database: on the connection storage.schema gives it, or that of the settings."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from storage.schema import migration
from storage.settings import Settings
from storage.tables import metadata


def migrate(connection: Connection) -> None:
    # In the transaction the connection is already in, so that all migrations happen or none does.
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
    context.run_migrations()


given: Connection | None = context.config.attributes.get("connection")
if given is not None:
    migrate(given)
else:
    with migration(Settings().database_url) as own:
        migrate(own)
