"""Migrations: what they make is what storage/tables.py says, and no database is touched that is not meant."""

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from storage import schema
from storage.database import open_database, upgrade
from storage.engine import make_engine
from storage.errors import DatabaseNewer, SchemaOutdated, StorageError
from storage.ledger import Ledger
from storage.schema import downgrade, migration, schema_version
from storage.tables import metadata, source_observation

ROOT = Path(__file__).parents[2]
NEXT = f"{int(schema.REVISIONS[-1]) + 1:04}"
_MADE_OF = {
    "sqlite": "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL",
    "postgresql": """
        SELECT table_name || '.' || column_name, concat_ws(' ', rank() OVER (
            PARTITION BY table_name ORDER BY ordinal_position), data_type, is_nullable, column_default)
        FROM information_schema.columns WHERE table_schema = 'public'
        UNION ALL SELECT conrelid::regclass || '.' || conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace
        UNION ALL SELECT tablename || '.' || indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"""}


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[str]:
    """A database of each kind in which there is nothing."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/empty.db"
    else:
        with request.getfixturevalue("postgres").empty() as url:
            yield url


def made_of(url: str) -> dict[str, str]:
    """{name: SQL} of every table, column, index and constraint, partial indexes included, which Alembic does not
    compare."""
    engine = make_engine(url)
    with engine.begin() as connection:
        rows = connection.execute(text(_MADE_OF[engine.dialect.name])).all()
    engine.dispose()
    return {name: " ".join(sql.replace(chr(34), "").split()) for name, sql in rows  # a renamed table is quoted
            if not name.startswith(("alembic_version", "sqlite_sequence"))}


def test_the_migrations_make_the_tables_that_the_code_knows(empty_url: str) -> None:
    with migration(empty_url) as connection:
        metadata.create_all(connection)
    known = made_of(empty_url)
    with migration(empty_url) as connection:
        metadata.drop_all(connection)
    upgrade(empty_url)
    assert made_of(empty_url) == known
    assert len(metadata.tables) == 14
    engine = make_engine(empty_url)
    with engine.begin() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_every_migration_is_listed_in_order() -> None:
    scripts = ScriptDirectory.from_config(Config(ROOT / "alembic.ini"))
    assert tuple(script.revision for script in reversed(list(scripts.walk_revisions()))) == schema.REVISIONS
    assert Path(scripts.dir).resolve() == schema.MIGRATIONS


def test_migrations_go_down_and_up_again(url: str) -> None:
    before = made_of(url)
    assert downgrade(url, "base") == "none"
    assert made_of(url) == {}
    assert upgrade(url) == schema.REVISIONS[-1]
    assert made_of(url) == before


def test_rows_go_down_a_migration_and_up_again(world: Any) -> None:
    world.job()
    made = world.run(world.parts(), "lit")
    world.ledger.open_job(world.new_job("doubtful"))
    world.ledger.close_job("doubtful", "needs_review")
    world.database.close()
    before = made_of(world.url)
    for revision in reversed(schema.REVISIONS[:-1]):
        assert downgrade(world.url, revision) == revision
        with pytest.raises(SchemaOutdated):
            open_database(world.url)
    assert upgrade(world.url) == schema.REVISIONS[-1]
    assert made_of(world.url) == before
    assert world.claim(world.parts()) == made
    [source] = world.lineage.sources("job-1")
    assert (source.artifact, source.notes) == (world.artifact("photo"), ())
    assert world.lineage.job("doubtful").state == "interrupted", "a version before knew no such state"
    assert world.ledger.open_job(world.new_job("new")).state == "running"
    with world.database.read() as connection:  # the notes went with their column
        assert connection.execute(select(source_observation.c.notes.is_(None))).scalar_one()


def test_upgrading_again_changes_nothing_and_keeps_the_rows(world: Any) -> None:
    world.job()
    assert upgrade(world.url) == schema.REVISIONS[-1]
    assert world.lineage.job("job-1").state == "running"


@pytest.fixture
def next_migration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """next_migration(body): there is one more migration, whose upgrade does `body`."""
    def add(body: str) -> None:
        shutil.copytree(schema.MIGRATIONS, tmp_path / "migrations")
        (tmp_path / "migrations" / "versions" / f"{NEXT}_next.py").write_text(
            f"from alembic import op\nrevision, down_revision = {NEXT!r}, {schema.REVISIONS[-1]!r}\n"
            f"def upgrade():\n    {body}\n")
        monkeypatch.setattr(schema, "MIGRATIONS", tmp_path / "migrations")
        monkeypatch.setattr(schema, "REVISIONS", (*schema.REVISIONS, NEXT))

    return add


def test_a_migration_that_fails_leaves_the_database_as_it_was(
        url: str, next_migration: Callable[[str], None]) -> None:
    before, version = made_of(url), schema.REVISIONS[-1]
    next_migration("op.execute('CREATE TABLE half (a integer)'); op.execute('no sql')")
    with pytest.raises(DBAPIError, match="syntax error"):
        upgrade(url)
    assert made_of(url) == before
    with pytest.raises(SchemaOutdated, match=rf"at version {version}, .* needs {NEXT}. Run `backlot db upgrade`"):
        open_database(url)


def test_a_migration_that_would_orphan_rows_is_undone(world: Any, next_migration: Callable[[str], None]) -> None:
    world.job()
    next_migration("op.execute('DELETE FROM job')")
    sqlite = world.url.startswith("sqlite")
    with pytest.raises(StorageError if sqlite else DBAPIError,
                       match="would leave 1 rows that refer to nothing" if sqlite else "foreign key"):
        upgrade(world.url)
    assert world.lineage.job("job-1").job_id == "job-1"


def test_an_old_database_is_not_upgraded_by_opening_it(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "REVISIONS", (*schema.REVISIONS, NEXT))
    with pytest.raises(SchemaOutdated):
        open_database(url)


@pytest.mark.parametrize("statement", [
    "UPDATE alembic_version SET version_num = '9999'", "DELETE FROM alembic_version", "DROP TABLE alembic_version"])
def test_a_newer_or_foreign_database_is_neither_opened_nor_upgraded(world: Any, statement: str) -> None:
    with world.database.write() as connection:
        connection.execute(text(statement))
    for refuse in (open_database, upgrade):
        with pytest.raises(DatabaseNewer, match="does not know"):
            refuse(world.url)


def test_an_empty_database_counts_as_new_and_is_given_its_tables(empty_url: str) -> None:
    if empty_url.startswith("sqlite"):
        Path(empty_url.removeprefix("sqlite:///")).touch()
    engine = make_engine(empty_url)
    assert schema_version(engine) == "none"
    database = open_database(empty_url)
    assert Ledger(database).known_source("a" * 64, "decoder-1") is None
    assert schema_version(engine) == schema.REVISIONS[-1]
    database.close()
    engine.dispose()


def test_processes_that_open_a_new_database_at_once_all_get_it(
        empty_url: str, race: Callable[..., list[str]]) -> None:
    script = f"""
from storage.database import open_database
from storage.lineage import Lineage
wait()
print(Lineage(open_database({empty_url!r})).jobs(5))
"""
    assert race(script, 6) == ["[]\n"] * 6


def test_an_upgrade_waits_for_another_however_long_it_takes(sqlite_url: str) -> None:
    """On SQLite, whose lock is a file's; PostgreSQL's is below."""
    lock = Path(f"{sqlite_url.removeprefix('sqlite:///')}.lock")
    with (lock.open("w") as other, ThreadPoolExecutor(1) as pool):
        fcntl.flock(other, fcntl.LOCK_EX)
        waiting = pool.submit(upgrade, sqlite_url)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.5)
        fcntl.flock(other, fcntl.LOCK_UN)
        assert waiting.result(timeout=30) == schema.REVISIONS[-1]


def test_an_upgrade_of_postgresql_waits_past_the_limits_of_a_worker_and_sees_what_the_other_did(
        postgres: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.engine.STATEMENT_SECONDS", 0.2)
    monkeypatch.setattr("storage.engine.LOCK_SECONDS", 0.2)
    with postgres.empty() as url, ThreadPoolExecutor(1) as pool:
        with migration(url) as connection:
            waiting = pool.submit(schema.upgrade, url)
            with pytest.raises(TimeoutError):
                waiting.result(timeout=1)
            connection.execute(text("CREATE TABLE alembic_version (version_num text)"))
            connection.execute(text("INSERT INTO alembic_version VALUES (:version)"), {"version": schema.REVISIONS[-1]})
            metadata.create_all(connection)
        assert waiting.result(timeout=30) == schema.REVISIONS[-1]


def test_opening_a_database_does_not_load_alembic(url: str) -> None:
    loaded = subprocess.run([sys.executable, "-c", f"""
import sys
from storage.database import open_database
open_database({url!r})
print("alembic" in sys.modules)
"""], capture_output=True, text=True, check=True).stdout
    assert loaded == "False\n"
