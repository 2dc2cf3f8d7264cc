"""The nearest earlier result of a pass, and what was different then."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, case, func, select

from storage.answers import Change
from storage.tables import cache_key_part, job_pass, pass_execution

LOOKED_AT = 1000
"""How many keys of earlier results are compared, the latest first: 35 ms on SQLite (2026-11-21, 2 busy cores)."""

_GROUPS = ("pass", "version", "params", "inputs", "weights")
_run = pass_execution.c


@dataclass(frozen=True, kw_only=True)
class Nearest:
    job_id: str
    key: str


def nearest(connection: Connection, job_id: str, at: str, exec_id: str) -> Nearest | None:
    """The earlier result of the same pass whose key differs in the fewest parts, then the latest of those.

    Not counted: what the same job rests on at another place, because its second pass is no news beside its first.
    """
    this = connection.execute(select(_run.fence, _run.key, _run.pass_name).where(_run.exec_id == exec_id)).one()
    elsewhere = select(job_pass.c.exec_id).where(
        job_pass.c.job_id == job_id, job_pass.c.at != at, job_pass.c.exec_id.is_not(None))
    latest = func.max(_run.fence).label("latest")
    earlier = (select(_run.key, latest)
               .where(_run.pass_name == this.pass_name, _run.state.in_(("succeeded", "lost")), _run.fence < this.fence,
                      _run.exec_id.not_in(elsewhere))
               .group_by(_run.key).order_by(latest.desc()).limit(LOOKED_AT))
    found = connection.execute(_by_distance(this.key, earlier).limit(1)).one_or_none()
    if found is None:
        return None
    made_by = connection.execute(select(_run.job_id).where(_run.fence == found.latest)).scalar_one()
    return Nearest(job_id=made_by, key=found.key)


def _by_distance(key: str, earlier: Select[Any]) -> Select[Any]:
    """The keys of `earlier` (key, latest), nearest first. Counted in SQL: 1,000 keys have 25,000 parts.

    Parts that only `earlier` has, plus shared ones of another value, plus those only `key` has. The last number is
    `key`'s parts less the shared ones, and `key`'s parts are the same for all, so the order needs only the rest.
    """
    candidates = earlier.subquery()
    theirs, mine = cache_key_part.alias("theirs"), cache_key_part.alias("mine")
    only_theirs = func.sum(case((mine.c.part.is_(None), 1), else_=0))
    other_value = func.sum(case((mine.c.value != theirs.c.value, 1), else_=0))
    shared = func.count(mine.c.part)
    return (select(candidates.c.key, candidates.c.latest)
            .select_from(candidates.join(theirs, theirs.c.key == candidates.c.key)
                         .outerjoin(mine, (mine.c.key == key) & (mine.c.part == theirs.c.part)))
            .group_by(candidates.c.key, candidates.c.latest)
            .order_by(only_theirs + other_value - shared, candidates.c.latest.desc()))


def changes(connection: Connection, before: str, after: str) -> tuple[Change, ...]:
    """The parts in which two keys differ: pass, version, params, inputs, weights, each by name."""
    old, new = _parts(connection, before), _parts(connection, after)
    names = sorted((name for name in old.keys() | new.keys() if old.get(name) != new.get(name)),
                   key=lambda name: (_GROUPS.index(name.partition(".")[0]), name))
    return tuple(Change(part=name, before=json.loads(old.get(name, "null")), after=json.loads(new.get(name, "null")))
                 for name in names)


def _parts(connection: Connection, key: str) -> dict[str, str]:
    """{part: canonical JSON}: compared as text, because in Python true equals 1."""
    rows = connection.execute(select(cache_key_part.c.part, cache_key_part.c.value).where(cache_key_part.c.key == key))
    return {row.part: row.value for row in rows}
