"""Transactions on both databases: readers never wait, writers take turns, nothing acknowledged is lost."""

import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError, InternalError

from storage import database as layer
from storage.database import open_database
from storage.dialect import now
from storage.engine import database_url, make_engine, server, shown
from storage.errors import DatabaseUnavailable, StorageError
from storage.examine import examine

PASSWORD = "s3cret-canary"


def test_every_connection_to_sqlite_has_the_settings(sqlite_world: Any) -> None:
    pragmas = {"journal_mode": "wal", "synchronous": 1, "foreign_keys": 1, "busy_timeout": 30_000}
    with sqlite_world.database.write() as one, sqlite_world.database.read() as other:
        for connection in (one, other):
            assert {name: connection.execute(text(f"PRAGMA {name}")).scalar() for name in pragmas} == pragmas


def test_every_connection_to_postgresql_has_the_limits(postgres_world: Any) -> None:
    limits = {"statement_timeout": "5s", "lock_timeout": "3s", "idle_in_transaction_session_timeout": "10s",
              "application_name": "backlot", "client_encoding": "UTF8"}
    kinds = ("transaction_isolation", "transaction_read_only")
    with postgres_world.database.write() as one, postgres_world.database.read() as other:
        for connection in (one, other):
            assert {name: connection.execute(text(f"SHOW {name}")).scalar() for name in limits} == limits
        assert [one.execute(text(f"SHOW {name}")).scalar() for name in kinds] == ["serializable", "off"]
        assert [other.execute(text(f"SHOW {name}")).scalar() for name in kinds] == ["repeatable read", "on"]


def test_what_the_url_itself_says_goes_before_the_limits(postgres_url: str) -> None:
    given = f"{postgres_url}&application_name=shop&options=-c%20statement_timeout%3D7s"
    engine = make_engine(given)
    with engine.begin() as connection:
        told = [connection.execute(text(f"SHOW {name}")).scalar()
                for name in ("application_name", "statement_timeout", "lock_timeout")]
    engine.dispose()
    assert told == ["shop", "7s", "3s"]


def test_a_reader_neither_waits_for_a_writer_nor_sees_half_of_it(world: Any) -> None:
    with world.database.write() as writer:
        writer.execute(text("INSERT INTO environment VALUES (:id, '{}', 1)"), {"id": "a" * 64})
        started = time.monotonic()
        with world.database.read() as reader:
            assert reader.execute(text("SELECT count(*) FROM environment")).scalar() == 0
        assert time.monotonic() - started < 4
    with world.database.read() as reader:
        assert reader.execute(text("SELECT count(*) FROM environment")).scalar() == 1


def test_a_reader_sees_one_state_however_long_it_reads(world: Any) -> None:
    with world.database.read() as reader:
        assert reader.execute(text("SELECT count(*) FROM job")).scalar() == 0
        world.ledger.open_job(world.new_job("job-1"))
        assert reader.execute(text("SELECT count(*) FROM job")).scalar() == 0


def test_a_reader_changes_nothing_on_postgresql(postgres_world: Any) -> None:
    # On SQLite a reader may write: no statement of ours does, and a switch would cost each connection a question.
    with postgres_world.database.read() as reader, pytest.raises(InternalError, match="read-only transaction"):
        reader.execute(text("DELETE FROM job"))


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
    with pytest.raises(IntegrityError, match=r"(?i)foreign key"):
        world.claim(world.parts(), "job-9")


def test_writers_in_four_processes_lose_nothing(world: Any, race: Callable[..., list[str]]) -> None:
    script = f"""
from sqlalchemy import make_url, text
from storage import database as layer
from storage.database import open_database
database = open_database({world.url!r})
def once(act):
    act()
def add(part):  # read, think, write: what a plain BEGIN loses or refuses
    with database.write() as connection:
        count = connection.execute(text("SELECT round FROM job")).scalar()
        connection.execute(text("UPDATE job SET round = :next"), {{"next": count + 1}})
        connection.execute(text("INSERT INTO cache_key_part VALUES (:key, :part, '1')"),
                           {{"key": "a" * 64, "part": part}})
wait()
for number in range(200):
    # Patiently, because PostgreSQL passes a turn on a moment before it counts the last one as over.
    {"once" if world.url.startswith("sqlite") else "database.patiently"}(lambda: add(f"{{sys.argv[1]}}-{{number}}"))
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
    assert abs(told - time.time()) < 60
    assert "clock_timestamp()" in str(now().compile(dialect=postgresql.dialect()))


def test_the_server_tells_its_kind_and_version(world: Any) -> None:
    kind, version = world.database.server().split(" ")
    assert kind == {"sqlite": "SQLite", "postgresql": "PostgreSQL"}[world.url.partition(":")[0]]
    assert all(number.isdigit() for number in version.split("."))


@pytest.mark.parametrize("url", ["postgresql://u@h/d", "postgres://u@h/d", "postgresql+psycopg://u@h/d"])
def test_each_usual_spelling_of_a_postgresql_url_is_understood(url: str) -> None:
    assert database_url(url).render_as_string() == "postgresql+psycopg://u@h/d"


@pytest.mark.parametrize(("url", "said"), [
    (f"mysql://me:{PASSWORD}@host/db", "only SQLite and PostgreSQL"),
    (f"postgresql+asyncpg://me:{PASSWORD}@host/db", "only SQLite and PostgreSQL"),
    ("sqlite+aiosqlite:///backlot.db", "only SQLite and PostgreSQL"),
    (f"postgresql://me:a@{PASSWORD}@host/db", "an '@' not written %40"),
    (f"postgresql://me:a@b/{PASSWORD}@host/db", "an '@' not written %40"),
    (f"postgresql://me@host/db?password={PASSWORD}", "its password is not where one belongs"),
    (f"postgresql:me:{PASSWORD}@host/db", "is not a database url"),
    (f"me:{PASSWORD}@host", "is not a database url"),
    (f"host=db user=bob password={PASSWORD}", "is not a database url"),
    (f"postgresql://bob:{PASSWORD}/db", "is not a database url"),
    (f"{PASSWORD}://host/db", "is not a database url"), (f"mysql://me:{PASSWORD}/db", "is not a database url"),
    ("/srv/backlot.db", "is not a database url"),
    ("sqlite://", "is not a file"), ("sqlite:///:memory:", "is not a file")])
def test_a_database_we_cannot_keep_is_refused_without_telling_its_password(url: str, said: str) -> None:
    with pytest.raises(StorageError, match=said) as refused:
        open_database(url)
    assert refused.value.field == "database_url"
    assert "sqlite:///" in refused.value.remedy
    assert PASSWORD not in str(refused.value) + str(vars(refused.value))


def test_a_server_that_is_not_there_is_unavailable_and_its_password_stays_hidden(
        caplog: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert layer.OPENING.in_all == 5  # seconds that somebody waits at a terminal for a url that is wrong
    monkeypatch.setattr(layer, "OPENING", layer.Patience(in_all=0.3))
    url = f"postgresql://me:{PASSWORD}@/shop?host={tmp_path}&sslpassword={PASSWORD}"
    caplog.set_level(0)
    with pytest.raises(DatabaseUnavailable, match=r"\d+ tries in \d+ s, the last: connection .*failed") as gone:
        open_database(url)
    engine = make_engine(url)
    told = [str(gone.value), repr(gone.value), str(vars(gone.value)), str(gone.value.__cause__), repr(engine),
            repr(engine.pool), repr(engine.url), shown(engine.url), caplog.text]
    with pytest.raises(Exception, match="connection") as raw:
        server(engine)
    assert PASSWORD not in "".join([*told, str(raw.value), repr(raw.value)])
    assert "me:***@/shop" in str(gone.value)


def test_the_folder_of_a_new_database_is_made(tmp_path: Path) -> None:
    open_database(f"sqlite:///{tmp_path}/a/b/backlot.db").close()
    assert (tmp_path / "a" / "b" / "backlot.db").exists()


def test_what_is_no_database_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "backlot.db").write_bytes(b"no database" * 100)
    with pytest.raises(StorageError, match=r"cannot be opened \(file is not a database\)\. Restore a backup"):
        open_database(f"sqlite:///{tmp_path}/backlot.db")


@pytest.fixture
def empty_postgres_url(postgres: Any) -> Generator[str]:
    with postgres.empty() as url:
        yield url


@pytest.fixture
def stranger_url(empty_postgres_url: str) -> Generator[str]:
    """A database in which its user may look and make nothing, as PostgreSQL 15 gives those who do not own it."""
    name = f"stranger_{uuid4().hex[:8]}"
    owner = make_engine(empty_postgres_url)
    with owner.begin() as connection:
        connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN PASSWORD 'stranger'")
    yield make_url(empty_postgres_url).set(username=name, password="stranger").render_as_string(hide_password=False)
    with owner.begin() as connection:
        connection.exec_driver_sql(f"DROP OWNED BY {name}")
        connection.exec_driver_sql(f"DROP ROLE {name}")
    owner.dispose()


def test_a_user_without_rights_is_told_so_when_opening_and_when_upgrading(stranger_url: str) -> None:
    for action in (open_database, layer.upgrade):
        with pytest.raises(StorageError, match=r"permission denied .*\. Its user needs a database of its own"):
            action(stranger_url)


def test_what_its_user_may_not_do_is_known_before_anything_is_tried(
        stranger_url: str, empty_postgres_url: str) -> None:
    assert examine(stranger_url).may_not == "make tables in the schema public"
    name = make_url(stranger_url).username
    open_database(empty_postgres_url).close()
    assert examine(empty_postgres_url).may_not is None
    owner = make_engine(empty_postgres_url)
    with owner.begin() as connection:
        connection.exec_driver_sql(f"GRANT CREATE, USAGE ON SCHEMA public TO {name}")
        connection.exec_driver_sql(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}")
        connection.exec_driver_sql(f"REVOKE INSERT ON job FROM {name}")
    owner.dispose()
    assert examine(stranger_url).may_not == "read and write the table job"
