"""Opening the database, and its two kinds of transaction: reading, and writing alone.

The one place that tries the database again (docs/decisions/0008). What failed is a whole transaction and is run again
as one: whatever it read may be different now. So its body is a function, marked @reads or @writes, and has no effect
but on the database. And as a connection can be lost after COMMIT was sent, each may find its own work done already.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import DatabaseError

from storage import schema
from storage.engine import database_url, make_engine, reading, server, shown, writing
from storage.errors import DatabaseUnavailable, StorageError
from storage.faults import point
from storage.schema import check_schema, is_new
from storage.transient import forbidden, obstacle

__all__ = ["Database", "open_database", "reads", "upgrade", "writes"]

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class Patience:
    """Bounds of one transaction with all its tries, in seconds (spec reliability 6.1). tries: where others are in the
    way; a database that does not answer is tried for as long as all may take, because 8 tries are over in 4 s and it
    is to be awaited for 10 (G12). A pause is drawn between 0 and its bound, so that who collided does not meet again.
    """

    tries: int = 8
    pause: float = 0.05
    longest: float = 2.0
    in_all: float = 60.0


PATIENCE = Patience()

OPENING = Patience(in_all=5.0)
"""For the first word: then it is rather the url that is wrong, and somebody waits at a terminal."""


class Database:
    """Transactions on one database. Safe for many threads; a forked child opens its own."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reader = reading(engine)
        self._writer = writing(engine)

    @contextmanager
    def read(self) -> Generator[Connection]:
        """One try of a transaction that sees one state of everything, and neither waits for a writer nor delays one."""
        with self._reader.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Generator[Connection]:
        """One try of a transaction that is alone in writing from its first statement, so what it reads stays true until
        it commits. Keep it short: no picture is computed, read or stored inside one."""
        with self._writer.begin() as connection:
            yield connection
            point("database.commit")
        point("database.committed")

    def patiently(self, transaction: Callable[[], R]) -> R:
        """What `transaction` gives, run again where the database was the obstacle. Raises DatabaseUnavailable."""
        return _patiently(self._engine.url, transaction, PATIENCE)

    def server(self) -> str:
        """The database's kind and version: "PostgreSQL 15.18", "SQLite 3.40.1". Asks it once."""
        return server(self._engine)

    def close(self) -> None:
        self._engine.dispose()


class _OnDatabase(Protocol):
    _database: Database


S = TypeVar("S", bound=_OnDatabase)


def reads(question: Callable[Concatenate[S, Connection, P], R]) -> Callable[Concatenate[S, P], R]:
    """A method that is one read transaction. It is given the connection, its callers are not asked for one."""
    @wraps(question)
    def asked(self: S, /, *args: P.args, **named: P.kwargs) -> R:
        def transaction() -> R:
            with self._database.read() as connection:
                return question(self, connection, *args, **named)

        return self._database.patiently(transaction)

    return asked


def writes(fact: Callable[Concatenate[S, Connection, P], R]) -> Callable[Concatenate[S, P], R]:
    """A method that is one write transaction: all of it or nothing. It must be right to run it again although an
    earlier try did commit, because a connection can be lost before the answer comes."""
    @wraps(fact)
    def recorded(self: S, /, *args: P.args, **named: P.kwargs) -> R:
        def transaction() -> R:
            with self._database.write() as connection:
                return fact(self, connection, *args, **named)

        return self._database.patiently(transaction)

    return recorded


def open_database(url: str) -> Database:
    """The database at `url`. One without tables is given them; a SQLite file that is not there yet is made.

    Raises SchemaOutdated for an older version's tables and DatabaseNewer for unknown ones: neither is touched.
    DatabaseUnavailable where it does not answer.
    """
    engine = make_engine(url)
    try:
        if _patiently(engine.url, lambda: is_new(engine), OPENING):
            upgrade(url)
        _patiently(engine.url, lambda: check_schema(engine), OPENING)
    except DatabaseError as error:
        engine.dispose()
        raise _refused(engine.url, "opened", error) from error
    except BaseException:
        engine.dispose()
        raise
    return Database(engine)


def upgrade(url: str) -> str:
    """Migrate to the newest version, in one transaction; the version. Of several processes one does it, the rest wait.

    Raises DatabaseNewer for tables of a newer version or of another program, DatabaseUnavailable, and StorageError
    where its user may not.
    """
    known = database_url(url)
    try:
        return _patiently(known, lambda: schema.upgrade(url), OPENING)
    except DatabaseError as error:
        if not forbidden(error):
            raise
        raise _refused(known, "upgraded", error) from error


def _refused(url: URL, what: str, error: DatabaseError) -> StorageError:
    return StorageError(f"it cannot be {what} ({_said(error)})", field="database_url", value=shown(url),
                        remedy=_REMEDY[url.get_backend_name()])


_REMEDY = {"sqlite": "Restore a backup, or move it away: a new one is made, and results are made anew",
           "postgresql": "Its user needs a database of its own, or all rights on the schema"}


def _patiently(url: URL, transaction: Callable[[], R], patience: Patience) -> R:
    started, tried, met = time.monotonic(), 0, 0
    while True:
        tried += 1
        try:
            return transaction()
        except Exception as error:
            what = obstacle(error)
            if what is None:
                raise
            met += what == "busy"
            pause = random.uniform(0, min(patience.longest, patience.pause * 2 ** (tried - 1)))
            took = time.monotonic() - started
            if met == patience.tries or took + pause > patience.in_all:
                raise DatabaseUnavailable(shown(url), f"{tried} tries in {took:.0f} s, the last: {_said(error)}"
                                          ) from error
        time.sleep(pause)


def _said(error: Any) -> str:
    """What the database or its driver said, in one line and no longer than one reads."""
    return " ".join(str(getattr(error, "orig", error)).split())[:300]
