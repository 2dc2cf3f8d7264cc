"""Opening the database, and its two kinds of transaction: reading, and writing one at a time."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DatabaseError

from storage.engine import WRITES, make_engine
from storage.errors import StorageError
from storage.faults import point
from storage.schema import check_schema, is_new, upgrade

__all__ = ["Database", "open_database", "upgrade"]


class Database:
    """Transactions on one database. Safe for many threads; a forked child opens its own."""

    def __init__(self, engine: Engine) -> None:
        self._reader = engine
        self._writer = engine.execution_options(**{WRITES: True})

    @contextmanager
    def read(self) -> Generator[Connection]:
        """A transaction that sees one state of everything, and on SQLite neither waits for a writer nor delays one."""
        with self._reader.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Generator[Connection]:
        """A transaction that is alone in writing from its first statement, so what it reads stays true until it
        commits. Keep it short: no picture is computed, read or stored inside one."""
        with self._writer.begin() as connection:
            yield connection
            point("database.commit")
        point("database.committed")

    def close(self) -> None:
        self._reader.dispose()


def open_database(url: str) -> Database:
    """The database at `url`. A SQLite file that is not there yet is made, tables and all.

    Raises SchemaOutdated for an older version's tables and DatabaseNewer for unknown ones: neither is touched.
    """
    engine = make_engine(url)
    try:
        if is_new(engine):
            upgrade(url)
        check_schema(engine)
    except DatabaseError as error:
        engine.dispose()
        raise StorageError(f"it cannot be opened ({error.orig})", field="database_url", value=url,
                           remedy="Restore a backup, or move it away: a new one is made, and results are made anew"
                           ) from error
    except BaseException:
        engine.dispose()
        raise
    return Database(engine)
