"""What is asked of a database, on real SQLite files and a real PostgreSQL."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from storage.database import open_database
from storage.examine import _ahead, damage, examine, file_of, network_file_system
from storage.schema import REVISIONS, downgrade


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "backlot.db"
    open_database(f"sqlite:///{path}").close()
    return path


def test_a_sqlite_file_is_described(file: Path) -> None:
    facts = examine(f"sqlite:///{file}")
    assert facts.server == f"SQLite {sqlite3.sqlite_version}"
    assert (facts.version, facts.wanted, facts.known, facts.wal) == (REVISIONS[-1], REVISIONS[-1], True, True)
    assert facts.clock_ahead is None
    assert 0 < facts.seconds < 1


def test_a_postgresql_database_is_described_without_its_password(postgres_url: str) -> None:
    facts = examine(postgres_url.replace("postgres@", "postgres:CANARY@"))
    assert facts.server.startswith("PostgreSQL ")
    assert (facts.version, facts.known, facts.wal) == (REVISIONS[-1], True, None)
    assert facts.clock_ahead is not None
    assert abs(facts.clock_ahead) < 2
    assert "CANARY" not in repr(facts)


def test_a_database_without_tables_and_one_of_an_older_version_are_told_apart(file: Path, tmp_path: Path) -> None:
    assert examine(f"sqlite:///{tmp_path}/new.db").version is None
    downgrade(f"sqlite:///{file}", REVISIONS[0])
    facts = examine(f"sqlite:///{file}")
    assert (facts.version, facts.known) == (REVISIONS[0], True)


def test_another_programs_tables_are_not_known(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE orders (id)")
    facts = examine(f"sqlite:///{tmp_path}/other.db")
    assert (facts.version, facts.known) == ("none", False)


def test_a_database_that_is_not_there_is_tried_once() -> None:
    begun = time.monotonic()
    with pytest.raises(OperationalError):
        examine("postgresql://backlot@127.0.0.1:1/backlot")
    assert time.monotonic() - begun < 4.5


@pytest.mark.parametrize(("there", "asked", "answered", "ahead"), [
    (100, 100.2, 100.3, 0.0), (100, 100.9, 101.4, 0.0), (101, 100.9, 101.4, 0.0),  # could be the same clock
    (110, 100.2, 100.3, 9.7), (90, 100.2, 100.3, -9.2)])
def test_a_clock_of_whole_seconds_is_compared_fairly(there: int, asked: float, answered: float, ahead: float) -> None:
    assert _ahead(there, asked, answered) == pytest.approx(ahead)


def test_a_sound_file_is_sound_and_a_torn_one_is_not(file: Path) -> None:
    url = f"sqlite:///{file}"
    assert damage(url) is None
    with sqlite3.connect(file) as database:  # the index goes on pointing at rows that are gone
        database.execute("PRAGMA writable_schema=ON")
        database.execute("INSERT INTO alembic_version VALUES ('a'), ('b')")
        database.execute("UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM sqlite_master WHERE name = 'job') "
                         "WHERE name = 'artifact' AND type = 'table'")
    found = damage(url)
    assert found
    assert "\n" not in found


def test_the_file_behind_a_url(tmp_path: Path) -> None:
    assert file_of(f"sqlite:///{tmp_path}/a.db") == tmp_path / "a.db"
    assert file_of("postgresql://backlot@db/backlot") is None


@pytest.mark.parametrize(("folder", "kind"), [
    ("/", None), ("/srv/a", None), ("/mnt/share", "nfs4"), ("/mnt/share/deep/down", "nfs4"),
    ("/mnt/share/local", None), ("/mnt/with space/a", "cifs"), ("/mnt/shared", None)])
def test_a_network_file_system_is_known_by_the_mount_nearest_to_the_folder(
        tmp_path: Path, folder: str, kind: str | None) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
        "31 30 8:1 / /mnt/share/local rw - xfs /dev/sdb rw\n"
        "30 27 0:50 / /mnt/share rw,relatime shared:2 master:3 - nfs4 server:/export rw\n"
        "32 27 0:51 / /mnt/with\\040space rw - cifs //server/share rw\n")
    assert network_file_system(Path(folder), mounts) == kind


def test_where_the_system_does_not_say_nothing_is_known(tmp_path: Path) -> None:
    assert network_file_system(tmp_path, tmp_path / "no-mountinfo") is None
    assert network_file_system(tmp_path) is None
