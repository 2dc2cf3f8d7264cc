"""kill -9 around every put of a run whose pictures and deliveries are in a bucket of a real S3 server."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator

import pytest
from s3 import S3
from toy_home import Home, kill_at_each
from toy_worker import Workers

pytest_plugins = ["store_fixtures"]

JOBS = ({"job_id": "first", "amount": 1, "debug_mode": True}, {"job_id": "second", "amount": 2})
PUTS = ("artifact.stored", "output.stored")

Homes = Callable[..., Home]


@pytest.fixture(scope="module")
def s3_workers() -> Generator[Workers]:
    """With the S3 libraries loaded before the fork; each worker opens its own connection after it."""
    started = Workers("storage.s3")
    yield started
    started.close()


@pytest.fixture
def bucket_homes(s3: S3, homes: Homes) -> Homes:
    numbers = itertools.count()

    def new() -> Home:
        prefix = f"{s3.url}/home-{next(numbers)}"
        return homes(artifacts_url=f"{prefix}/artifacts", outputs_url=f"{prefix}/outputs",
                     s3_endpoint_url=s3.endpoint)

    return new


def test_a_kill_after_a_put_leaves_nothing_wrong(s3_workers: Workers, bucket_homes: Homes) -> None:
    """Of the photo, of three pictures, of the final delivery."""
    assert kill_at_each(s3_workers, bucket_homes, [{"job_id": "one"}], lambda point: point in PUTS) == ([], 5)


@pytest.mark.slow
def test_a_kill_anywhere_leaves_nothing_wrong(s3_workers: Workers, bucket_homes: Homes) -> None:
    bad, kills = kill_at_each(s3_workers, bucket_homes, JOBS)
    assert bad == []
    assert kills > 60
