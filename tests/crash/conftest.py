"""A folder with a photo for toy jobs, and workers that can be killed."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from toy_home import Home
from toy_worker import Workers

from storage.database import open_database

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def workers() -> Generator[Workers]:
    started = Workers()
    yield started
    started.close()


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables and no rows: a copy takes a millisecond, migrations a quarter of a second."""
    path = tmp_path_factory.mktemp("empty") / "backlot.db"
    open_database(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def homes(tmp_path: Path, empty_database: Path) -> Callable[..., Home]:
    """homes(**settings): a new empty home. All of a test's homes share one photo."""
    rows, columns = np.mgrid[0:64, 0:80]
    picture = np.stack([rows * 4, columns * 3, (rows * columns) % 256], axis=2).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "photo.png")

    def new(**settings: Any) -> Home:
        folder = tmp_path / f"home-{next(_numbers)}"
        folder.mkdir()
        if "database_url" not in settings:
            shutil.copy(empty_database, folder / "backlot.db")
        return Home(folder=folder, settings=settings)

    return new
