"""The checker's questions to the database: what must hold between rows, asked so that no constraint is taken on trust.

A constraint may be switched off, a file may be edited or half restored; so each promise of storage.tables that a fault
could break is asked for here in plain joins, the same on both databases.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, Connection, exists, func, select
from sqlalchemy.exc import DatabaseError

from storage.database import Database
from storage.dialect import now
from storage.digests import pass_key
from storage.findings import Finding
from storage.tables import cache_key_part, job, job_output, metadata, pass_execution, pass_output

LONG_OVER_SECONDS = 600
"""A lease that ended this long ago is nobody's: a living worker renews three times in each (90 s by default)."""

FINAL = "final"
"""The role in which every pipeline delivers last."""

_SHOWN = 1000
"""Most dangling rows told of each reference: behind one cause there are often as many as the table has rows."""

_run = pass_execution.c


def file_findings(database: Database) -> list[Finding]:
    """Is the SQLite file whole? PostgreSQL checks its pages itself."""
    try:
        words = database.patiently(lambda: _integrity(database))
    except DatabaseError as error:
        if type(error) is not DatabaseError:  # its subclasses say that nobody could look; this one, what was seen
            raise
        words = [str(error.orig)]
    return [Finding(kind="broken_database", where="database", what=word) for word in words if word != "ok"]


def _integrity(database: Database) -> list[str]:
    with database.read() as connection:
        if connection.dialect.name != "sqlite":
            return []
        return [str(word) for word in connection.exec_driver_sql("PRAGMA integrity_check(10)").scalars()]


def row_findings(connection: Connection) -> Iterator[Finding]:
    """Everything but bytes and files."""
    if connection.dialect.name == "postgresql":  # whole tables are read, which takes longer than a worker may
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
    yield from _dangling(connection)
    yield from _executions(connection)
    yield from _jobs(connection)


def _dangling(connection: Connection) -> Iterator[Finding]:
    for table in metadata.sorted_tables:
        for key in sorted(table.foreign_keys, key=lambda key: key.parent.name):
            child, parent = key.parent, key.column
            rows = connection.execute(
                select(child).distinct().select_from(table.outerjoin(parent.table, child == parent))
                .where(child.is_not(None), parent.is_(None)).order_by(child).limit(_SHOWN))
            for (value,) in rows:
                yield Finding(kind="dangling", where=f"{table.name}.{child.name}={value}",
                              what=f"there is no {parent.table.name} of that {parent.name}")


def _executions(connection: Connection) -> Iterator[Finding]:
    made = exists().where(pass_output.c.exec_id == _run.exec_id)
    for row in connection.execute(select(_run.exec_id, _run.pass_name).where(_run.state == "succeeded", ~made)):
        yield Finding(kind="no_outputs", where=row.exec_id, what=f"{row.pass_name} has no output row")
    over = (now() - _run.lease_until).label("over")
    for row in connection.execute(select(_run.exec_id, _run.pass_name, _run.worker, over)
                                  .where(_run.state == "running", over > LONG_OVER_SECONDS)):
        yield Finding(kind="overdue", where=row.exec_id,
                      what=f"{row.pass_name} of worker {row.worker}, whose lease ended {row.over} s ago")
    twice = (select(_run.key, _run.generation, func.count().label("times")).where(_run.state == "succeeded")
             .group_by(_run.key, _run.generation).having(func.count() > 1))
    for row in connection.execute(twice):
        yield Finding(kind="twice", where=row.key, what=f"generation {row.generation} succeeded {row.times} times")


def _jobs(connection: Connection) -> Iterator[Finding]:
    final = exists().where(job_output.c.job_id == job.c.job_id, job_output.c.role == FINAL)
    for job_id in connection.execute(select(job.c.job_id).where(job.c.state == "completed", ~final)).scalars():
        yield Finding(kind="unfinished", where=job_id, what=f"it has no output in the role {FINAL}")
    leased = exists().where(_run.job_id == job.c.job_id, _living())
    for job_id in connection.execute(select(job.c.job_id).where(job.c.state == "running", ~leased)).scalars():
        yield Finding(kind="idle_job", where=job_id, what="no execution of it holds a lease")


def _living() -> ColumnElement[bool]:
    return (_run.state == "running") & (_run.lease_until >= now())


def anyone_at_work(connection: Connection) -> bool:
    """Does any execution hold a lease that is not over?"""
    return connection.execute(select(_run.exec_id).where(_living()).limit(1)).first() is not None


def key_findings(connection: Connection) -> Iterator[Finding]:
    """Does every execution's key follow from the parts that are stored for it? Reads all of them."""
    told = exists().where(cache_key_part.c.key == _run.key)
    for key in connection.execute(select(_run.key).distinct().where(~told)).scalars():
        yield Finding(kind="wrong_key", where=key, what="no parts are stored for it")
    rows = connection.execution_options(yield_per=10_000).execute(
        select(cache_key_part).order_by(cache_key_part.c.key))
    for key, parts in groupby(rows, key=lambda row: row.key):
        again = _key_of({row.part: row.value for row in parts})
        if again != key:
            yield Finding(kind="wrong_key", where=key, what=f"its parts give {again}")


def _key_of(parts: dict[str, str]) -> str:
    """The key of parts as storage.records.KeyParts spells them, or why there is none."""
    whole: dict[str, Any] = {"pass": None, "version": None, "params": {}, "inputs": {}, "weights": {}}
    try:
        for part, value in parts.items():
            group, _, name = part.partition(".")
            if name:
                whole[group][name] = json.loads(value)
            else:
                whole[group] = json.loads(value)
        return pass_key(whole)
    except (KeyError, TypeError, ValueError) as error:
        return f"no key ({error})"
