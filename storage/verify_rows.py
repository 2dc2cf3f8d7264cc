"""The checker's questions to the database: what must hold between rows, asked so that no constraint is taken on trust.

A constraint may be switched off, a file may be edited or half restored; so each promise of storage.tables that a fault
could break is asked for here in plain joins, the same on both databases.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Text,
    cast,
    exists,
    func,
    literal,
    null,
    select,
    union_all,
)
from sqlalchemy.exc import DatabaseError

from storage.database import Database
from storage.dialect import now
from storage.digests import pass_key
from storage.findings import Finding
from storage.jobs import MADE
from storage.tables import (
    cache_key_part,
    job,
    job_output,
    job_pass,
    metadata,
    pass_execution,
    pass_input,
    pass_model,
    pass_output,
)

LONG_OVER_SECONDS = 600
"""A lease that ended this long ago is nobody's: a living worker renews three times in each (90 s by default)."""

LONGEST_LEASE_SECONDS = 24 * 3600
"""A lease that ends later than this from now was not made by a worker. BACKLOT_LEASE_SECONDS (90 by default) has no
upper limit, but it is how long a dead worker's key stays taken, and a day of that is of use to nobody."""

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
    yield from _leases(connection)
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
    twice = (select(_run.key, _run.generation, func.count().label("times")).where(_run.state == "succeeded")
             .group_by(_run.key, _run.generation).having(func.count() > 1))
    for row in connection.execute(twice):
        yield Finding(kind="twice", where=row.key, what=f"generation {row.generation} succeeded {row.times} times")


def _leases(connection: Connection) -> Iterator[Finding]:
    left = (_run.lease_until - now()).label("left")
    for row in connection.execute(
            select(_run.exec_id, _run.pass_name, _run.worker, left)
            .where(_run.state == "running", (left < -LONG_OVER_SECONDS) | (left > LONGEST_LEASE_SECONDS))):
        whose = f"{row.pass_name} of worker {row.worker}, whose lease"
        if row.left < 0:
            yield Finding(kind="overdue", where=row.exec_id, what=f"{whose} ended {-row.left} s ago")
        else:
            yield Finding(kind="endless_lease", where=row.exec_id, what=f"{whose} ends in {row.left // 86400} days")


def _jobs(connection: Connection) -> Iterator[Finding]:
    final = exists().where(job_output.c.job_id == job.c.job_id, job_output.c.role == FINAL)
    for job_id in connection.execute(select(job.c.job_id).where(job.c.state == "completed", ~final)).scalars():
        yield Finding(kind="unfinished", where=job_id, what=f"it has no output in the role {FINAL}")
    rests = exists().where(job_pass.c.job_id == job.c.job_id)
    for job_id in connection.execute(select(job.c.job_id).where(job.c.state.in_(MADE), ~rests)).scalars():
        yield Finding(kind="no_passes", where=job_id, what="it rests on no pass")
    leased = exists().where(_run.job_id == job.c.job_id, _living())
    for job_id in connection.execute(select(job.c.job_id).where(job.c.state == "running", ~leased)).scalars():
        yield Finding(kind="idle_job", where=job_id, what="no execution of it holds a lease")


def _living() -> ColumnElement[bool]:
    return (_run.state == "running") & (_run.lease_until >= now())


def at_work(connection: Connection) -> str | None:
    """Who might be about to name bytes that no row names yet, in a clause: a worker that holds a lease, or a running
    job, because ingest has no lease. The job's age tells nothing: one that is run again keeps its first time."""
    if connection.execute(select(_run.exec_id).where(_living()).limit(1)).first() is not None:
        return "a worker that runs now might be about to name it"
    job_id = connection.execute(
        select(job.c.job_id).where(job.c.state == "running").order_by(job.c.job_no).limit(1)).scalar()
    if job_id is None:
        return None
    return f"the job {job_id} is running and might be about to name it; if it was cut short, run it again"


def key_findings(connection: Connection) -> Iterator[Finding]:
    """Does every execution's key follow from the parts that are stored for it, and do its rows say the same of it?
    Reads all of them.

    Rows are held against parts that do give their key, and so are what it was made of. Not asked is pass_output.role:
    it enters no key, and what a pass calls its outputs stands in models.passes, which storage may not import.
    """
    rows = connection.execution_options(yield_per=10_000).execute(_spelt())
    for key, group in groupby(rows, key=lambda row: row.key):
        parts: dict[str, str] = {}
        said: defaultdict[tuple[str, str], dict[str, str]] = defaultdict(dict)
        for row in group:
            (parts if row.exec_id is None else said[row.exec_id, row.state])[row.part] = row.value
        if not parts:
            yield Finding(kind="wrong_key", where=key, what="no parts are stored for it")
        elif (again := _key_of(parts)) != key:
            yield Finding(kind="wrong_key", where=key, what=f"its parts give {again}")
        else:
            for (exec_id, state), words in said.items():
                yield from _lineage_findings(exec_id, words, parts, state in ("succeeded", "lost"))


def _spelt() -> Select[Any]:
    """What is stored of keys, and what rows say of executions, spelt as the same parts. One question, sorted by key:
    as anti-joins, PostgreSQL took 7 minutes for 50,000 executions while it had no statistics; so, it takes 5 s."""
    nobody, runs = cast(null(), Text), (_run.key, _run.exec_id, _run.state)
    words = union_all(
        select(cache_key_part.c.key, nobody.label("exec_id"), nobody.label("state"), cache_key_part.c.part,
               cache_key_part.c.value),
        select(*runs, literal("pass"), _quoted(_run.pass_name)),
        select(*runs, literal("version"), cast(_run.pass_version, Text)),
        *(select(*runs, literal(group) + digest.table.c.role, _quoted(digest))
          .join_from(digest.table, pass_execution, digest.table.c.exec_id == _run.exec_id)
          for group, digest in (("inputs.", pass_input.c.digest), ("weights.", pass_model.c.model_digest))),
    ).subquery()
    return select(words).order_by(words.c.key)


def _quoted(text: ColumnElement[str]) -> ColumnElement[str]:
    """As canonical JSON writes a plain word."""
    return literal('"') + text + literal('"')


def _lineage_findings(exec_id: str, said: dict[str, str], made_of: dict[str, str],
                      has_result: bool) -> Iterator[Finding]:
    """has_result: what was read is written with the result (storage.claims), so before there are no rows of it."""
    wanted = {part for part in made_of if has_result and not part.startswith("params.")}  # of those there are no rows
    for part in sorted(wanted | said.keys()):
        if said.get(part) != made_of.get(part):
            now_is, was = (words.get(part, "nothing").strip('"') for words in (said, made_of))
            yield Finding(kind="wrong_lineage", where=exec_id, what=f"{part} is {now_is}, its key was made of {was}")


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
