"""Which errors of a database pass by themselves, so that the transaction they ended may be run again as a whole."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, TimeoutError

_SQLITE = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}

_SQLSTATES = {
    "40001",  # serialization_failure: two transactions got in each other's way
    "40P01",  # deadlock_detected
    "55P03",  # lock_not_available: lock_timeout
    "57014",  # query_canceled: statement_timeout
    "25P03",  # idle_in_transaction_session_timeout: this process was stopped in the middle
    "57P01", "57P02", "57P03",  # shut down, crashed, starting up
    "53300",  # too_many_connections
}
"""PostgreSQL, appendix A; spec reliability 6.1."""


def is_transient(error: Exception) -> bool:
    """Was the database the obstacle, rather than what was asked of it?"""
    if isinstance(error, TimeoutError):  # no connection of the pool became free
        return True
    if not isinstance(error, DBAPIError):
        return False
    if isinstance(error.orig, sqlite3.Error):
        return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in _SQLITE  # the rest tells kinds of busy apart
    state = getattr(error.orig, "sqlstate", None)
    if state is None:  # nothing came from a server: no connection, or one that was lost
        return isinstance(error, (OperationalError, InterfaceError))
    return state in _SQLSTATES or state.startswith("08")
