"""Fixtures of tests that need a store. A file that wants them says pytest_plugins = ["store_fixtures"]."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import fsspec
import pytest
from places import Place
from s3 import S3, moto_server, new_bucket

import storage.s3
from storage.s3 import Patience


@pytest.fixture(scope="session")
def s3_server() -> Generator[str]:
    """The address of a moto server in a process of its own; 0.6 s to start."""
    with moto_server() as endpoint:
        yield endpoint


@pytest.fixture
def s3(s3_server: str) -> S3:
    """The session's server, and an empty bucket of this test's own."""
    return new_bucket(s3_server)


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> Patience:
    """All bounds of one call as they are, but pauses of milliseconds, so that faults cost a test no time."""
    quick = Patience(pause=0.002, longest=0.02, throttled=0.002, throttled_longest=0.02)
    monkeypatch.setattr(storage.s3, "PATIENCE", quick)
    return quick


@pytest.fixture
def folder(tmp_path: Path) -> Place:
    return Place(str(tmp_path / "store"), None, fsspec.filesystem("file"))


@pytest.fixture
def bucket(s3: S3) -> Place:
    """A prefix of a bucket, as a shop shares one bucket among several things."""
    return Place(f"{s3.url}/shop/store", s3.endpoint, s3.files)


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest) -> Place:
    """An empty place of each kind."""
    found: Place = request.getfixturevalue(request.param)
    return found
