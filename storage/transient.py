"""Which errors of a database pass by themselves, so that the transaction they ended may be run again as a whole."""

from __future__ import annotations

import sqlite3
from typing import Literal

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, TimeoutError

Obstacle = Literal["busy", "gone"]
"""busy: it answers, and others were in the way; gone: it does not answer, or is going or coming."""

_SQLITE = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_SQLITE_FORBIDDEN = {sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOTADB}

_SQLSTATES: dict[str, Obstacle] = {
    "40001": "busy",  # serialization_failure: two transactions got in each other's way
    "40P01": "busy",  # deadlock_detected
    "55P03": "busy",  # lock_not_available: lock_timeout
    "57014": "busy",  # query_canceled: statement_timeout
    "25P03": "gone",  # idle_in_transaction_session_timeout: this process was stopped in the middle
    "57P01": "gone", "57P02": "gone", "57P03": "gone",  # shut down, crashed, starting up
    "53300": "gone",  # too_many_connections
}
"""PostgreSQL, appendix A; spec reliability 6.1."""


def forbidden(error: DBAPIError) -> bool:
    """Whether the user may not do this there: no rights (42501), or a file that cannot be written or is no database."""
    if isinstance(error.orig, sqlite3.Error):
        return (getattr(error.orig, "sqlite_errorcode", 0) & 0xFF) in _SQLITE_FORBIDDEN
    return getattr(error.orig, "sqlstate", None) == "42501"


def obstacle(error: Exception) -> Obstacle | None:
    """How the database was the obstacle; None where it is what was asked of it."""
    if isinstance(error, TimeoutError):  # no connection of the pool became free
        return "busy"
    if not isinstance(error, DBAPIError):
        return None
    if isinstance(error.orig, sqlite3.Error):
        code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF  # the rest of it tells kinds of busy apart
        return "busy" if code in _SQLITE else None
    state = getattr(error.orig, "sqlstate", None)
    if state is None:  # nothing came from a server: no connection, or one that was lost
        return "gone" if isinstance(error, (OperationalError, InterfaceError)) else None
    return "gone" if state.startswith("08") else _SQLSTATES.get(state)
