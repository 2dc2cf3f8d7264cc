"""Connections to the database: which urls are understood, what a connection holds and how a transaction begins.

SQLite (3.35 or newer, tested with 3.40) and PostgreSQL (tested with 15, the oldest its makers still mend).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from storage.errors import StorageError
from storage.settings import make_folder

BUSY_SECONDS = 30
"""How long a writer on SQLite waits for another. Longest wait measured with 8 busy writers: 1 to 5 s (spec
reliability 2.2)."""

STATEMENT_SECONDS = 5
LOCK_SECONDS = 3
"""What a statement on PostgreSQL may take, and how much of it waiting for another's lock (spec reliability 6.3)."""

IDLE_SECONDS = 10
"""A transaction that says nothing for so long is ended by PostgreSQL: its worker was stopped or cut off, and others
wait their turn. Ours think for milliseconds between two statements."""

CONNECT_SECONDS = 3
"""spec reliability 6.3"""

_SILENCE = {"keepalives_idle": "5", "keepalives_interval": "5", "keepalives_count": "3", "tcp_user_timeout": "20000"}
"""A server that vanished without a word is noticed after 20 s, not after the two hours of TCP's defaults."""

_DRIVERS = {"sqlite": "sqlite", "sqlite+pysqlite": "sqlite", "postgres": "postgresql+psycopg",
            "postgresql": "postgresql+psycopg", "postgresql+psycopg": "postgresql+psycopg"}
_SCHEME, _PATH = re.compile(r"[a-z0-9+]{1,30}"), re.compile(r"[\w./-]+")
_REMEDY = "Give sqlite:///path/to/backlot.db or postgresql://user:password@host/database"
_WRITES = "backlot_writes"


def make_engine(url: str, *, migrating: bool = False) -> Engine:
    """An engine for `url`, for `reading` and `writing` below. migrating: foreign keys off on SQLite, which changes a
    table by making a new one and dropping the old; no limits of time on PostgreSQL.

    Raises StorageError for anything but a SQLite file or a PostgreSQL database.
    """
    known = database_url(url)
    if known.get_backend_name() == "sqlite":
        make_folder(sqlite_file(known).parent)
        engine = create_engine(known, connect_args={"timeout": BUSY_SECONDS}, json_serializer=_to_json)
        _set_up_sqlite(engine, foreign_keys=not migrating)
        return engine
    # Without its options, which may hold a key's password, in the url: an engine shows its own.
    engine = create_engine(known.set(query={}), connect_args=_arguments(known, migrating), pool_pre_ping=True,
                           json_serializer=_to_json)
    _take_turns(engine)
    return engine


def reading(engine: Engine) -> Engine:
    """Transactions that see one state of everything and change nothing."""
    if engine.dialect.name == "sqlite":
        return engine
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def writing(engine: Engine) -> Engine:
    """Transactions that are alone in writing from their first statement on: others wait for their turn, in order."""
    alone = engine.execution_options(**{_WRITES: True})
    return alone if engine.dialect.name == "sqlite" else alone.execution_options(isolation_level="SERIALIZABLE")


def server(engine: Engine) -> str:
    """The database's kind and version, asked of itself: "PostgreSQL 15.18", "SQLite 3.40.1"."""
    sqlite = engine.dialect.name == "sqlite"
    with reading(engine).begin() as connection:
        asked = "SELECT sqlite_version()" if sqlite else "SHOW server_version"
        version = connection.exec_driver_sql(asked).scalar_one()
    return f"SQLite {version}" if sqlite else f"PostgreSQL {version.split()[0]}"


def database_url(url: str) -> URL:
    """`url` with our driver's name. Raises StorageError for one that we cannot keep anything at."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # ValueError: a port that is no number, as behind a '/' in a password
        raise _refused("is not a database url", _secretless(url)) from None
    if parsed.drivername not in _DRIVERS:
        raise _refused("only SQLite and PostgreSQL (by psycopg) are supported", _secretless(url))
    known = parsed.set(drivername=_DRIVERS[parsed.drivername])
    if known.get_backend_name() == "sqlite":
        sqlite_file(known)
    elif "@" in f"{known.host}{known.database}" or "password" in known.query:
        raise _refused("its password is not where one belongs, or holds an '@' not written %40", _secretless(url))
    return known


def sqlite_file(url: URL) -> Path:
    """The file behind a SQLite url. Raises StorageError where it is none."""
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise _refused("is not a file that other processes could open", shown(url))
    return Path(url.database)


def shown(url: URL) -> str:
    """The url for people: without password and options."""
    return url.set(query={}).render_as_string(hide_password=True)


def _refused(message: str, shown: str) -> StorageError:
    return StorageError(message, field="database_url", value=shown, remedy=_REMEDY)


def _secretless(url: str) -> str:
    """What may be shown of a url in which nobody knows where the password is: its scheme, or a plain path."""
    if _PATH.fullmatch(url):
        return url
    scheme, colon, _ = url.partition("://")
    return f"{scheme}{colon}…" if colon and _SCHEME.fullmatch(scheme) else "…"


def _arguments(url: URL, migrating: bool) -> dict[str, Any]:
    """What the driver is given: the url's, and ours where it does not say otherwise. Limits are told at the start of a
    connection, so they cost no question."""
    seconds = {} if migrating else {"statement_timeout": STATEMENT_SECONDS, "lock_timeout": LOCK_SECONDS,
                                    "idle_in_transaction_session_timeout": IDLE_SECONDS}
    given = url.query.get("options", ())
    options = [*(f"-c {name}={1000 * limit}" for name, limit in seconds.items()),
               *((given,) if isinstance(given, str) else given)]
    ours = {"application_name": "backlot", "connect_timeout": str(CONNECT_SECONDS), **_SILENCE}
    whole = url.set(query={**ours, **url.query, "options": " ".join(options)})
    return dict(whole.get_dialect()().create_connect_args(whole)[1])


def _set_up_sqlite(engine: Engine, *, foreign_keys: bool) -> None:
    @event.listens_for(engine, "connect")
    def set_up(connection: Any, record: object) -> None:
        # Python's own BEGIN comes late and is never IMMEDIATE, so two writers that read first lose each other's
        # updates (a counter of 261 after 2,399 increments: spec reliability 2.2). We begin ourselves, below.
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", f"foreign_keys={'ON' if foreign_keys else 'OFF'}"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _take_turns(engine: Engine) -> None:
    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # PostgreSQL would let writers run together and end one of two that got in each other's way. Eight workers that
        # claimed keys of their own ended each other so often that 6 of 800 gave up after 8 tries (2026-11-21): small
        # tables are locked by pages and whole. LOCK TABLE comes before the transaction's view of the data, which an
        # advisory lock would not. The table is one that nobody vacuums, as nobody writes it but migrations. A turn is
        # passed on a moment before PostgreSQL counts the last one as over, so in thousands one is still run again.
        if connection.get_execution_options().get(_WRITES, False):
            connection.exec_driver_sql("LOCK TABLE alembic_version IN EXCLUSIVE MODE")


def _to_json(value: Any) -> str:
    """As people read it; where half a surrogate pair stands in a text, with escapes, which both databases keep."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return text if _is_unicode(text) else json.dumps(value, allow_nan=False)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
