"""How Alembic reaches the database: on the connection storage.schema gives it, or that of the settings."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from storage.engine import WRITES, make_engine
from storage.settings import Settings
from storage.tables import metadata


def migrate(connection: Connection) -> None:
    # transactional_ddl: Alembic thinks SQLite cannot undo DDL, because Python's driver used to commit before it.
    # Ours begins transactions itself, so a migration happens whole or not at all.
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=True, transactional_ddl=True)
    context.run_migrations()


given: Connection | None = context.config.attributes.get("connection")
if given is not None:
    migrate(given)
else:
    with make_engine(Settings().database_url, foreign_keys=False).execution_options(**{WRITES: True}).begin() as own:
        migrate(own)
