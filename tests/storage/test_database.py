"""Transactions on SQLite: readers never wait, writers take turns, nothing acknowledged is lost."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError

from storage.database import open_database
from storage.dialect import now
from storage.errors import StorageError


def test_every_connection_has_the_settings(world: Any) -> None:
    pragmas = {"journal_mode": "wal", "synchronous": 1, "foreign_keys": 1, "busy_timeout": 30_000}
    with world.database.write() as one, world.database.read() as other:
        for connection in (one, other):
            assert {name: connection.execute(text(f"PRAGMA {name}")).scalar() for name in pragmas} == pragmas


def test_a_reader_neither_waits_for_a_writer_nor_sees_half_of_it(world: Any) -> None:
    with world.database.write() as writer:
        writer.execute(text("INSERT INTO environment VALUES (:id, '{}', 1)"), {"id": "a" * 64})
        started = time.monotonic()
        with world.database.read() as reader:
            assert reader.execute(text("SELECT count(*) FROM environment")).scalar() == 0
        assert time.monotonic() - started < 1
    with world.database.read() as reader:
        assert reader.execute(text("SELECT count(*) FROM environment")).scalar() == 1


def test_a_reader_sees_one_state_however_long_it_reads(world: Any) -> None:
    with world.database.read() as reader:
        assert reader.execute(text("SELECT count(*) FROM job")).scalar() == 0
        world.ledger.open_job(world.new_job("job-1"))
        assert reader.execute(text("SELECT count(*) FROM job")).scalar() == 0


def test_a_write_that_fails_leaves_nothing(world: Any) -> None:
    def write_half() -> None:
        with world.database.write() as writer:
            writer.execute(text("INSERT INTO environment VALUES (:id, '{}', 1)"), {"id": "a" * 64})
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        write_half()
    with world.database.read() as reader:
        assert reader.execute(text("SELECT count(*) FROM environment")).scalar() == 0


def test_a_row_cannot_refer_to_what_is_not_there(world: Any) -> None:
    with pytest.raises(IntegrityError, match="FOREIGN KEY"):
        world.claim(world.parts(), "job-9")


def test_writers_in_four_processes_lose_nothing(world: Any, race: Callable[..., list[str]]) -> None:
    script = f"""
from sqlalchemy import text
from storage.database import open_database
database = open_database({world.url!r})
wait()
for number in range(200):
    with database.write() as connection:  # read, think, write: what a plain BEGIN loses or refuses
        count = connection.execute(text("SELECT round FROM job")).scalar()
        connection.execute(text("UPDATE job SET round = :next"), {{"next": count + 1}})
        connection.execute(text("INSERT INTO cache_key_part VALUES (:key, :part, '1')"),
                           {{"key": "a" * 64, "part": f"{{sys.argv[1]}}-{{number}}"}})
"""
    world.ledger.open_job(world.new_job("job-1"))
    race(script, 4)
    with world.database.read() as connection:
        assert connection.execute(text("SELECT round FROM job")).scalar() == 1 + 800
        assert connection.execute(text("SELECT count(*) FROM cache_key_part")).scalar() == 800


def test_the_clock_is_the_databases_in_whole_seconds(world: Any) -> None:
    with world.database.read() as connection:
        told = connection.execute(now().select()).scalar()
    assert isinstance(told, int)
    assert abs(told - time.time()) < 3
    assert "clock_timestamp()" in str(now().compile(dialect=postgresql.dialect()))


@pytest.mark.parametrize(("url", "said"), [
    ("postgresql://me:secret@host/db", "only SQLite is supported yet"), ("sqlite://", "is not a file"),
    ("sqlite:///:memory:", "is not a file")])
def test_a_database_we_cannot_keep_is_refused_without_telling_its_password(url: str, said: str) -> None:
    with pytest.raises(StorageError, match=said) as refused:
        open_database(url)
    assert refused.value.field == "database_url"
    assert "secret" not in str(refused.value)


def test_the_folder_of_a_new_database_is_made(tmp_path: Path) -> None:
    open_database(f"sqlite:///{tmp_path}/a/b/backlot.db").close()
    assert (tmp_path / "a" / "b" / "backlot.db").exists()
