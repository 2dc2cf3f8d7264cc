"""The version of the tables: checked whenever a database is opened, raised by Alembic's migrations under a lock."""

from __future__ import annotations

import fcntl
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine, inspect, text

from storage.engine import WRITES, make_engine, sqlite_file
from storage.errors import DatabaseNewer, SchemaOutdated, StorageError

REVISIONS = ("0001",)
"""Every version of the tables, oldest first: those under migrations/versions, as a test checks. Listed here so that
opening a database does not load Alembic."""

MIGRATIONS = Path(__file__).parent / "migrations"
_VERSION_TABLE = "alembic_version"


def is_new(engine: Engine) -> bool:
    """Is there no table yet? Also true while another process has made the file and not its tables."""
    return set(inspect(engine).get_table_names()) <= {_VERSION_TABLE}


def check_schema(engine: Engine) -> None:
    """Raises SchemaOutdated or DatabaseNewer unless the tables are of this version."""
    found, wanted = schema_version(engine), REVISIONS[-1]
    if found not in REVISIONS:
        raise DatabaseNewer(_shown(engine), found)
    if found != wanted:
        raise SchemaOutdated(_shown(engine), found, wanted)


def schema_version(engine: Engine) -> str:
    """The tables' version, "none" where nothing says it."""
    if not inspect(engine).has_table(_VERSION_TABLE):
        return "none"
    with engine.begin() as connection:
        return connection.execute(text(f"SELECT version_num FROM {_VERSION_TABLE}")).scalar() or "none"


def upgrade(url: str) -> str:
    """Migrate to the newest version, in one transaction; the version. Of several processes one does it, the rest wait.

    Raises DatabaseNewer for tables of a newer version or of another program.
    """
    return _migrate(url, REVISIONS[-1], down=False)


def downgrade(url: str, revision: str) -> str:
    """Take migrations back to `revision` ("base": no tables). For developers and tests: it drops what was stored."""
    return _migrate(url, revision, down=True)


def _migrate(url: str, revision: str, *, down: bool) -> str:
    engine = make_engine(url, foreign_keys=False)  # SQLite changes a table by making a new one and dropping the old
    try:
        with _locked(sqlite_file(url)):
            if not is_new(engine) and schema_version(engine) not in REVISIONS:
                raise DatabaseNewer(_shown(engine), schema_version(engine))
            _run(engine, revision, down=down)
            return schema_version(engine)
    finally:
        engine.dispose()


def _run(engine: Engine, revision: str, *, down: bool) -> None:
    from alembic import command  # here: only migrations need it
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with engine.execution_options(**{WRITES: True}).begin() as connection:
        config.attributes["connection"] = connection
        (command.downgrade if down else command.upgrade)(config, revision)
        if broken := connection.execute(text("PRAGMA foreign_key_check")).all():
            raise StorageError(f"it was left unchanged, because migrating it would leave {len(broken)} rows that refer "
                               "to nothing", field="database_url", value=_shown(engine), remedy="Report this as a bug")


@contextmanager
def _locked(database: Path) -> Generator[None]:
    """One migrating process a database. The lock dies with its process, so nothing stays locked."""
    with database.with_name(f"{database.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _shown(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=True)
