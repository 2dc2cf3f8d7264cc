"""kill -9 at every fault point of a run whose rows are on a real PostgreSQL server."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack

import pytest
from postgres import Databases, postgres  # noqa: F401  a fixture
from toy_home import Home, kill_at_each
from toy_worker import Workers

JOBS = ({"job_id": "first", "amount": 1, "debug_mode": True}, {"job_id": "second", "amount": 2})

Homes = Callable[..., Home]


@pytest.fixture(scope="module")
def postgres_workers() -> Generator[Workers]:
    """With the driver loaded before the fork; each worker connects after it."""
    started = Workers("psycopg")
    yield started
    started.close()


@pytest.fixture
def homes_on_postgres(postgres: Databases, homes: Homes) -> Generator[Homes]:  # noqa: F811
    with ExitStack() as until_the_end:
        def new() -> Home:
            return homes(database_url=until_the_end.enter_context(postgres.migrated()))

        yield new


def test_a_kill_before_a_commit_leaves_nothing_wrong(postgres_workers: Workers, homes_on_postgres: Homes) -> None:
    bad, kills = kill_at_each(postgres_workers, homes_on_postgres, [{"job_id": "one"}],
                              lambda point: point == "database.commit")
    assert bad == []
    assert kills > 8


@pytest.mark.slow
def test_a_kill_anywhere_leaves_nothing_wrong(postgres_workers: Workers, homes_on_postgres: Homes) -> None:
    bad, kills = kill_at_each(postgres_workers, homes_on_postgres, JOBS)
    assert bad == []
    assert kills > 60
