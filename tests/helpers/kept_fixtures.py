"""The small shop of `kept` as fixtures. A file says pytest_plugins to have them, beside those of store_fixtures."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from kept import Kept
from places import Place

from storage.database import open_database


@pytest.fixture
def kept(sqlite_url: str, folder: Place) -> Generator[Kept]:
    """On SQLite and a local disk."""
    database = open_database(sqlite_url)
    yield Kept.new(database, sqlite_url, folder)
    database.close()


@pytest.fixture(params=[("sqlite_url", "folder"), ("postgres_url", "bucket")], ids=["alone", "with servers"])
def kept_anywhere(request: pytest.FixtureRequest) -> Generator[Kept]:
    """On SQLite and a local disk; on PostgreSQL and S3."""
    url, at = (request.getfixturevalue(name) for name in request.param)
    database = open_database(url)
    yield Kept.new(database, url, at)
    database.close()


@pytest.fixture
def kept_on_servers(postgres_url: str, bucket: Place) -> Generator[Kept]:
    """On PostgreSQL and S3."""
    database = open_database(postgres_url)
    yield Kept.new(database, postgres_url, bucket)
    database.close()
