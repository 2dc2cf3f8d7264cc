"""The version of the tables: checked whenever a database is opened, raised by Alembic's migrations under a lock."""

from __future__ import annotations

import fcntl
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, func, inspect, select, text

from storage.engine import make_engine, reading, shown, sqlite_file, writing
from storage.errors import DatabaseNewer, SchemaOutdated, StorageError

REVISIONS = ("0001", "0002", "0003", "0004", "0005")
"""Every version of the tables, oldest first: those under migrations/versions, as a test checks. Listed here so that
opening a database does not load Alembic."""

MIGRATIONS = Path(__file__).parent / "migrations"
_VERSION_TABLE = "alembic_version"

_MIGRATING = 0x6261636B6C6F74
"""The name of our lock among a PostgreSQL database's advisory locks, which are numbers: "backlot" in ASCII."""


def is_new(engine: Engine) -> bool:
    """Is there no table yet? Also true while another process has made the database and not its tables."""
    with reading(engine).begin() as connection:
        return _is_new(connection)


def check_schema(engine: Engine) -> None:
    """Raises SchemaOutdated or DatabaseNewer unless the tables are of this version."""
    found, wanted = schema_version(engine), REVISIONS[-1]
    if found not in REVISIONS:
        raise DatabaseNewer(shown(engine.url), found)
    if found != wanted:
        raise SchemaOutdated(shown(engine.url), found, wanted)


def schema_version(engine: Engine) -> str:
    """The tables' version, "none" where nothing says it."""
    with reading(engine).begin() as connection:
        return _version(connection)


def upgrade(url: str) -> str:
    """storage.database.upgrade, in one try."""
    return _migrate(url, REVISIONS[-1], down=False)


def downgrade(url: str, revision: str) -> str:
    """Take migrations back to `revision` ("base": no tables). For developers and tests: it drops what was stored."""
    return _migrate(url, revision, down=True)


@contextmanager
def migration(url: str) -> Generator[Connection]:
    """A transaction on `url` that changes tables: whole or not at all, and of several processes one at a time. The lock
    dies with its process or connection, so nothing stays locked."""
    engine = make_engine(url, migrating=True)
    try:
        if engine.dialect.name == "sqlite":
            with _locked(sqlite_file(engine.url)), writing(engine).begin() as connection:
                yield connection
                _refuse_orphans(connection)
        else:
            # Not as other transactions: those would go on seeing the tables as they were before they had the lock.
            with engine.execution_options(isolation_level="READ COMMITTED").begin() as connection:
                connection.execute(select(func.pg_advisory_xact_lock(_MIGRATING)))
                yield connection
    finally:
        engine.dispose()


def _migrate(url: str, revision: str, *, down: bool) -> str:
    from alembic import command  # here: only migrations need it
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with migration(url) as connection:
        if not _is_new(connection) and _version(connection) not in REVISIONS:
            raise DatabaseNewer(shown(connection.engine.url), _version(connection))
        config.attributes["connection"] = connection
        (command.downgrade if down else command.upgrade)(config, revision)
        return _version(connection)


def _is_new(connection: Connection) -> bool:
    return set(inspect(connection).get_table_names()) <= {_VERSION_TABLE}


def _version(connection: Connection) -> str:
    if not inspect(connection).has_table(_VERSION_TABLE):
        return "none"
    return connection.execute(text(f"SELECT version_num FROM {_VERSION_TABLE}")).scalar() or "none"


def _refuse_orphans(connection: Connection) -> None:
    """PostgreSQL looks after each statement; SQLite's foreign keys are off while its tables change."""
    if broken := connection.execute(text("PRAGMA foreign_key_check")).all():
        raise StorageError(f"it was left unchanged, because migrating it would leave {len(broken)} rows that refer to "
                           "nothing", field="database_url", value=shown(connection.engine.url),
                           remedy="Report this as a bug")


@contextmanager
def _locked(database: Path) -> Generator[None]:
    with database.with_name(f"{database.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
