"""How Alembic reaches the database: on the connection storage.schema gives it, or that of the settings."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from storage.engine import WRITES, make_engine
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
    with make_engine(Settings().database_url, foreign_keys=False).execution_options(**{WRITES: True}).begin() as own:
        migrate(own)
