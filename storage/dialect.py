"""The few things that SQLite and PostgreSQL say differently, in one place."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Integer, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

Upsert = sqlite.Insert | postgresql.Insert


class now(FunctionElement[int]):  # noqa: N801  it reads as the SQL function it is
    """The database's clock in whole unix seconds. Leases and times use it and no worker's own clock.

    Whole seconds: fractions of a second need SQLite 3.42, and Debian 12 has 3.40.
    """

    type = Integer()
    inherit_cache = True


@compiles(now, "sqlite")
def _now_sqlite(element: now, compiler: Any, **options: Any) -> str:
    return "CAST(strftime('%s', 'now') AS INTEGER)"  # = unixepoch(), which SQLite has only since 3.38


@compiles(now, "postgresql")
def _now_postgresql(element: now, compiler: Any, **options: Any) -> str:
    return "CAST(floor(extract(epoch FROM clock_timestamp())) AS BIGINT)"


def upsert(connection: Connection, table: Table) -> Upsert:
    """An INSERT that takes ON CONFLICT."""
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)
