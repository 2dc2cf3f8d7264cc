"""Connections to the database: the settings they hold and how their transactions begin."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from storage.errors import StorageError
from storage.settings import make_folder

BUSY_SECONDS = 30
"""How long a writer waits for another. Longest wait measured with 8 busy writers: 1 to 5 s (spec reliability 2.2)."""

WRITES = "backlot_writes"
"""Execution option of engines whose transactions write."""


def make_engine(url: str, *, foreign_keys: bool = True) -> Engine:
    """An engine for `url`; `.execution_options(**{WRITES: True})` of it writes. foreign_keys: off only for migrations.

    Raises StorageError for anything but a SQLite file.
    """
    make_folder(sqlite_file(url).parent)
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS},
                           json_serializer=partial(json.dumps, ensure_ascii=False, allow_nan=False))

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, record: object) -> None:
        # Python's own BEGIN comes late and is never IMMEDIATE, so two writers that read first lose each other's
        # updates (a counter of 261 after 2,399 increments: spec reliability 2.2). We begin ourselves, below.
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", f"foreign_keys={'ON' if foreign_keys else 'OFF'}"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def sqlite_file(url: str) -> Path:
    """The file behind a SQLite url. Raises StorageError for any other url."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise StorageError("is not a database url", field="database_url", value=url,
                           remedy="Give sqlite:///path/to/backlot.db") from None
    if parsed.get_backend_name() != "sqlite":
        raise StorageError("only SQLite is supported yet", field="database_url", value=parsed.render_as_string(),
                           remedy="Give sqlite:///path/to/backlot.db")
    if not parsed.database or parsed.database == ":memory:" or parsed.database.startswith("file:"):
        raise StorageError("is not a file that other processes could open", field="database_url", value=url,
                           remedy="Give sqlite:///path/to/backlot.db")
    return Path(parsed.database)
