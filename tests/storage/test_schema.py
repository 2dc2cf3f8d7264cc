"""Migrations: what they make is what storage/tables.py says, and no database is touched that is not meant."""

import fcntl
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from storage import schema
from storage.database import open_database, upgrade
from storage.engine import WRITES, make_engine
from storage.errors import DatabaseNewer, SchemaOutdated, StorageError
from storage.ledger import Ledger
from storage.tables import metadata

ROOT = Path(__file__).parents[2]


def made_of(path: Path) -> dict[str, str]:
    """{name: SQL} of every table and index, checks and partial indexes included, which Alembic does not compare."""
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return {name: " ".join(sql.split()) for name, sql in rows if name not in ("alembic_version", "sqlite_sequence")}


def test_the_migrations_make_the_tables_that_the_code_knows(tmp_path: Path, migrated: Path) -> None:
    engine = make_engine(f"sqlite:///{migrated}")
    with engine.begin() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()
    plain = make_engine(f"sqlite:///{tmp_path}/plain.db")
    with plain.execution_options(**{WRITES: True}).begin() as connection:
        metadata.create_all(connection)
    plain.dispose()
    assert made_of(migrated) == made_of(tmp_path / "plain.db")
    assert len(metadata.tables) == 12


def test_every_migration_is_listed_in_order() -> None:
    scripts = ScriptDirectory.from_config(Config(ROOT / "alembic.ini"))
    assert tuple(script.revision for script in reversed(list(scripts.walk_revisions()))) == schema.REVISIONS
    assert Path(scripts.dir).resolve() == schema.MIGRATIONS


def test_migrations_go_down_and_up_again(tmp_path: Path, migrated: Path) -> None:
    path = Path(shutil.copy(migrated, tmp_path / "backlot.db"))
    url = f"sqlite:///{path}"
    assert schema.downgrade(url, "base") == "none"
    assert made_of(path) == {}
    assert upgrade(url) == schema.REVISIONS[-1]
    assert made_of(path) == made_of(migrated)


def test_upgrading_again_changes_nothing_and_keeps_the_rows(world: Any) -> None:
    world.job()
    assert upgrade(world.url) == schema.REVISIONS[-1]
    assert world.lineage.job("job-1").state == "running"


def test_a_migration_that_fails_leaves_the_database_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = tmp_path / "migrations" / "versions"
    shutil.copytree(schema.MIGRATIONS, tmp_path / "migrations")
    (versions / "0002_half.py").write_text(
        "from alembic import op\nrevision, down_revision = '0002', '0001'\n"
        "def upgrade():\n    op.execute('CREATE TABLE half (a)')\n    op.execute('no sql')\n")
    url = f"sqlite:///{tmp_path}/backlot.db"
    open_database(url).close()
    before = made_of(tmp_path / "backlot.db")
    monkeypatch.setattr(schema, "MIGRATIONS", tmp_path / "migrations")
    monkeypatch.setattr(schema, "REVISIONS", ("0001", "0002"))
    with pytest.raises(Exception, match="syntax error"):
        upgrade(url)
    assert made_of(tmp_path / "backlot.db") == before
    with pytest.raises(SchemaOutdated, match=r"at version 0001, .* needs 0002. Run `backlot db upgrade`"):
        open_database(url)


def test_a_migration_that_would_orphan_rows_is_undone(
        world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world.job()
    shutil.copytree(schema.MIGRATIONS, tmp_path / "migrations")
    (tmp_path / "migrations" / "versions" / "0002_orphans.py").write_text(
        "from alembic import op\nrevision, down_revision = '0002', '0001'\n"
        "def upgrade():\n    op.execute('DELETE FROM job')\n")
    monkeypatch.setattr(schema, "MIGRATIONS", tmp_path / "migrations")
    monkeypatch.setattr(schema, "REVISIONS", ("0001", "0002"))
    with pytest.raises(StorageError, match="would leave 1 rows that refer to nothing"):
        upgrade(world.url)
    assert world.lineage.job("job-1").job_id == "job-1"


def test_an_old_database_is_not_upgraded_by_opening_it(
        world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "REVISIONS", ("0001", "0002"))
    with pytest.raises(SchemaOutdated):
        open_database(world.url)


@pytest.mark.parametrize("statement", [
    "UPDATE alembic_version SET version_num = '9999'", "DELETE FROM alembic_version", "DROP TABLE alembic_version"])
def test_a_newer_or_foreign_database_is_neither_opened_nor_upgraded(world: Any, statement: str) -> None:
    with sqlite3.connect(world.database_file) as connection:
        connection.execute(statement)
    for refuse in (open_database, upgrade):
        with pytest.raises(DatabaseNewer, match="does not know"):
            refuse(world.url)


def test_an_empty_file_counts_as_new(tmp_path: Path) -> None:
    (tmp_path / "backlot.db").touch()
    Ledger(open_database(f"sqlite:///{tmp_path}/backlot.db")).known_source("a" * 64, "decoder-1")


def test_processes_that_open_a_new_database_at_once_all_get_it(
        tmp_path: Path, race: Callable[..., list[str]]) -> None:
    script = f"""
from storage.database import open_database
from storage.lineage import Lineage
wait()
print(Lineage(open_database("sqlite:///{tmp_path}/backlot.db")).jobs(5))
"""
    assert race(script, 4) == ["[]\n"] * 4


def test_an_upgrade_waits_for_another_however_long_it_takes(world: Any) -> None:
    with (Path(f"{world.database_file}.lock").open("w") as other, ThreadPoolExecutor(1) as pool):
        fcntl.flock(other, fcntl.LOCK_EX)
        waiting = pool.submit(upgrade, world.url)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.5)
        fcntl.flock(other, fcntl.LOCK_UN)
        assert waiting.result(timeout=30) == schema.REVISIONS[-1]


def test_opening_a_database_does_not_load_alembic(world: Any) -> None:
    loaded = subprocess.run([sys.executable, "-c", f"""
import sys
from storage.database import open_database
open_database({world.url!r})
print("alembic" in sys.modules)
"""], capture_output=True, text=True, check=True).stdout
    assert loaded == "False\n"
