"""One layer tries the database again: whole transactions, only where it was the obstacle, and not for ever."""

import sqlite3
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, insert, select, text, update
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from storage import database as layer
from storage import engine
from storage.database import Database, Patience, open_database, reads, writes
from storage.engine import database_url, shown
from storage.errors import DatabaseUnavailable, FencedOff
from storage.tables import environment, job
from storage.transient import obstacle

QUICK = Patience(pause=0.001, longest=0.01)


class Facts:
    """Transactions that count their tries. between(n): what happens in the middle of the nth."""

    def __init__(self, database: Database, between: Callable[[int], object] = lambda tried: None) -> None:
        self._database = database
        self._between = between
        self.tries = 0

    def _try(self) -> None:
        self.tries += 1
        self._between(self.tries)

    @writes
    def add(self, connection: Connection, amount: int) -> int:
        """Read, think, write."""
        count = connection.execute(select(job.c.round)).scalar_one()
        self._try()
        connection.execute(update(job).values(round=count + amount))
        return count + amount

    @reads
    def total(self, connection: Connection) -> int:
        self._try()
        return connection.execute(select(job.c.round)).scalar_one()

    @writes
    def insert_twice(self, connection: Connection) -> None:
        self._try()
        for _ in range(2):
            connection.execute(insert(environment).values(env_id="a" * 64, versions={}, created_at=1))

    @writes
    def give_up(self, connection: Connection) -> None:
        self._try()
        raise FencedOff("e1")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer, "PATIENCE", QUICK)


@contextmanager
def stranger(world: Any) -> Generator[psycopg.Connection]:
    """Somebody who does not wait for a turn, as Backlot's own writers do."""
    with psycopg.connect(world.url, autocommit=True) as connection:
        yield connection


def cut_off_workers(by: psycopg.Connection) -> None:
    by.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
               "WHERE application_name = 'backlot' AND datname = current_database()")


def test_a_transaction_that_another_got_in_the_way_of_is_run_again_as_a_whole(postgres_world: Any, quick: None) -> None:
    postgres_world.ledger.open_job(postgres_world.new_job("job-1"))
    with stranger(postgres_world) as other:
        facts = Facts(postgres_world.database, lambda tried: tried > 3 or other.execute(
            "UPDATE job SET round = round + 100"))
        assert facts.add(1) == 302
    assert facts.tries == 4
    assert Facts(postgres_world.database).total() == 302


def test_two_that_read_what_the_other_writes_do_not_both_commit(postgres_world: Any, quick: None) -> None:
    """The fault that only SERIALIZABLE sees: no row is written twice."""
    world = postgres_world
    world.ledger.open_job(world.new_job("job-1"))
    world.ledger.open_job(world.new_job("job-2"))

    def cross(tried: int) -> None:
        if tried == 1:
            with other.transaction():
                other.execute("SELECT count(*) FROM environment")
                other.execute("UPDATE job SET round = 7 WHERE job_id = 'job-2'")

    class Crossing(Facts):
        @writes
        def cross(self, connection: Connection) -> int:
            total = sum(connection.execute(select(job.c.round)).scalars())
            connection.execute(insert(environment).values(env_id="a" * 64, versions={"seen": total}, created_at=1))
            self._try()
            return total

    with stranger(world) as other:
        other.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        facts = Crossing(world.database, cross)
        assert facts.cross() == 8
    assert facts.tries == 2


def test_a_row_that_stays_locked_is_waited_for(
        postgres_world: Any, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "LOCK_SECONDS", 0.1)
    postgres_world.ledger.open_job(postgres_world.new_job("job-1"))
    database = open_database(postgres_world.url)
    with stranger(postgres_world) as other, ThreadPoolExecutor(1) as pool:
        other.execute("BEGIN")
        other.execute("UPDATE job SET state = state")
        facts = Facts(database)
        waiting = pool.submit(facts.add, 1)
        time.sleep(0.35)
        other.execute("ROLLBACK")
        assert waiting.result(timeout=30) == 2
    assert facts.tries > 2
    database.close()


def test_a_locked_file_is_waited_for(sqlite_world: Any, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0.05)
    sqlite_world.ledger.open_job(sqlite_world.new_job("job-1"))
    database = open_database(sqlite_world.url)
    other = sqlite3.connect(sqlite_world.database_file, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(Facts(database).add, 1)
        time.sleep(0.15)
        other.execute("ROLLBACK")
        assert waiting.result(timeout=30) == 2
    other.close()
    database.close()


def test_a_connection_that_is_lost_in_the_middle_is_made_anew(postgres_world: Any, quick: None) -> None:
    postgres_world.ledger.open_job(postgres_world.new_job("job-1"))
    with stranger(postgres_world) as other:
        for act, result in ((lambda facts: facts.add(1), 2), (lambda facts: facts.total(), 2)):
            facts = Facts(postgres_world.database, lambda tried: tried > 1 or cut_off_workers(other))
            assert act(facts) == result
            assert facts.tries == 2


def test_what_was_cut_off_while_nobody_asked_is_not_even_noticed(
        postgres_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    postgres_world.ledger.open_job(postgres_world.new_job("job-1"))
    with stranger(postgres_world) as other:
        cut_off_workers(other)
    monkeypatch.setattr(layer, "PATIENCE", Patience(tries=1, in_all=0))
    assert Facts(postgres_world.database).add(1) == 2


def test_a_worker_that_stops_in_the_middle_does_not_stop_the_others(
        postgres_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "IDLE_SECONDS", 0.5)
    monkeypatch.setattr(engine, "LOCK_SECONDS", 0.2)
    postgres_world.ledger.open_job(postgres_world.new_job("job-1"))
    stopped, other = open_database(postgres_world.url), open_database(postgres_world.url)
    sleeper = Facts(stopped, lambda tried: tried > 1 or time.sleep(5))
    with ThreadPoolExecutor(1) as pool:
        sleeping = pool.submit(sleeper.add, 100)
        time.sleep(0.2)
        started = time.monotonic()
        assert Facts(other).add(1) == 2
        assert time.monotonic() - started < 4.5
        assert sleeping.result(timeout=30) == 102
    assert sleeper.tries == 2
    stopped.close()
    other.close()


def test_after_eight_tries_the_database_is_unavailable(postgres_world: Any, quick: None) -> None:
    postgres_world.ledger.open_job(postgres_world.new_job("job-1"))
    with stranger(postgres_world) as other:
        facts = Facts(postgres_world.database, lambda tried: other.execute("UPDATE job SET round = round + 1"))
        with pytest.raises(DatabaseUnavailable, match=r"8 tries in 0 s, the last: could not serialize access") as gone:
            facts.add(1)
    assert facts.tries == 8
    assert gone.value.value == shown(database_url(postgres_world.url))
    assert "\n" not in str(gone.value)


def test_no_pause_begins_that_would_end_after_a_minute(
        postgres_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Patience().in_all == 60
    monkeypatch.setattr(layer, "PATIENCE", Patience(tries=1000, pause=0.05, longest=0.05, in_all=0.3))
    postgres_world.ledger.open_job(postgres_world.new_job("job-1"))
    started = time.monotonic()
    with stranger(postgres_world) as other:
        facts = Facts(postgres_world.database, lambda tried: other.execute("UPDATE job SET round = round + 1"))
        with pytest.raises(DatabaseUnavailable):
            facts.add(1)
    assert 2 < facts.tries < 1000
    assert time.monotonic() - started < 20


def test_a_database_that_is_gone_is_awaited_for_longer_than_eight_tries_take(
        postgres_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer, "PATIENCE", Patience(pause=0.001, longest=0.01, in_all=10))
    postgres_world.ledger.open_job(postgres_world.new_job("job-1"))
    with stranger(postgres_world) as other:
        facts = Facts(postgres_world.database, lambda tried: tried > 20 or cut_off_workers(other))
        assert facts.add(1) == 2
    assert facts.tries == 21


def test_what_is_nobodys_fault_but_ours_is_tried_once(world: Any) -> None:
    world.ledger.open_job(world.new_job("job-1"))
    facts = Facts(world.database)
    with pytest.raises(IntegrityError):
        facts.insert_twice()
    assert facts.tries == 1
    with pytest.raises(FencedOff):
        facts.give_up()
    assert facts.tries == 2
    with world.database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM environment")).scalar() == 0


def test_pauses_are_drawn_up_to_a_bound_that_doubles(
        monkeypatch: pytest.MonkeyPatch, sqlite_world: Any) -> None:
    bounds: list[float] = []
    monkeypatch.setattr(layer.random, "uniform", lambda low, high: bounds.append(high) or 0.0)

    def locked() -> None:
        raise OperationalError("COMMIT", {}, busy(sqlite3.SQLITE_BUSY))

    with pytest.raises(DatabaseUnavailable, match="database is locked"):
        sqlite_world.database.patiently(locked)
    assert bounds == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]


def busy(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode = code
    return error


def said(state: str | None) -> psycopg.Error:
    error = psycopg.OperationalError("no")
    error.sqlstate = state
    return error


@pytest.mark.parametrize(("error", "what"), [
    *((OperationalError("s", {}, said(state)), "busy") for state in ("40001", "40P01", "55P03", "57014")),
    *((OperationalError("s", {}, said(state)), "gone") for state in (
        "57P01", "57P02", "57P03", "25P03", "08006", "08P01", "53300", None)),
    (InterfaceError("s", {}, psycopg.InterfaceError("the connection is closed")), "gone"),
    (NoConnectionFree("QueuePool limit reached"), "busy"),
    (OperationalError("s", {}, busy(sqlite3.SQLITE_BUSY)), "busy"),
    (OperationalError("s", {}, busy(sqlite3.SQLITE_BUSY_SNAPSHOT)), "busy"),
    (OperationalError("s", {}, busy(sqlite3.SQLITE_LOCKED)), "busy"),
    (OperationalError("s", {}, busy(sqlite3.SQLITE_FULL)), None),
    (OperationalError("s", {}, busy(sqlite3.SQLITE_IOERR)), None),
    (OperationalError("s", {}, sqlite3.OperationalError("no such table: job")), None),
    (OperationalError("s", {}, said("53100")), None),
    (ProgrammingError("s", {}, psycopg.errors.UndefinedTable("no")), None),
    (IntegrityError("s", {}, psycopg.errors.UniqueViolation("no")), None),
    (DatabaseUnavailable("url", "8 tries"), None), (OSError("no"), None), (RuntimeError("no"), None),
], ids=repr)
def test_each_error_passes_by_itself_or_does_not(error: Exception, what: str | None) -> None:
    assert obstacle(error) == what
