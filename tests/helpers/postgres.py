"""A real PostgreSQL server of this test process's own, which ends with the process however that ends.

Where TEST_DATABASE_URL names a server, that one serves; its user must be allowed to create databases. Else Debian's
binaries are looked for. Where there is neither, tests skip and say so; with TEST_POSTGRES=required that is a failure.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import make_url

from storage.database import open_database

# A throw-away server need not survive a power cut (the figures are in spec/reliability.md 2.1).
CARELESS = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")

# The server ends when its guard's input does: the pipe closes when the test process is gone, also after kill -9.
_GUARD = """
"$@" >>"$FOLDER/log" 2>&1 </dev/null &
word=$(cat)
kill -QUIT $! 2>/dev/null
wait
[ "$word" = keep ] || rm -rf "$FOLDER"
"""


class Missing(Exception):
    """Why there is no server here."""


class PostgresServer:
    """A server on a socket in a folder of its own. settings: name=value, as in postgresql.conf."""

    def __init__(self, *settings: str) -> None:
        self._bin = _binaries()
        self._as = ("runuser", "-u", "postgres", "--") if os.getuid() == 0 else ()
        self.folder = Path(tempfile.mkdtemp(prefix="backlot-postgres-", dir="/tmp"))  # short: a socket's path must be
        self._data = self.folder / "data"
        self._settings = settings
        self._guard: subprocess.Popen[bytes] | None = None
        if self._as:
            shutil.chown(self.folder, "postgres", "postgres")
        try:
            subprocess.run([*self._as, self._bin / "initdb", "--no-sync", "--auth=trust", "--username=postgres",
                            "--encoding=UTF8", "--locale=C.UTF-8", "--pgdata", self._data], check=True,
                           capture_output=True, cwd=self.folder)
            self.start()
        except BaseException:
            self.close()
            raise

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def start(self) -> None:
        settings = ("listen_addresses=", f"unix_socket_directories={self.folder}", "max_connections=200")
        options = [word for one in (*settings, *self._settings) for word in ("-c", one)]
        self._guard = subprocess.Popen(
            [*self._as, "env", f"FOLDER={self.folder}", "sh", "-c", _GUARD, "guard", self._bin / "postgres", "-D",
             self._data, *options], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            cwd=self.folder, start_new_session=True)  # a session: Ctrl-C at a terminal is for the tests, which end it
        until = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(dbname="postgres", user="postgres", host=str(self.folder)).close()
                return
            except psycopg.OperationalError as error:
                if self._guard.poll() is not None or time.monotonic() > until:
                    said = (self.folder / "log").read_text()[-2000:]
                    raise RuntimeError(f"PostgreSQL did not start ({error}): {said}") from error
                time.sleep(0.05)

    def crash(self) -> None:
        """Stop as `pg_ctl stop -m immediate` does: no checkpoint, connections cut, recovery at the next start."""
        self._end(b"keep")

    def close(self) -> None:
        self._end(b"")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self, word: bytes) -> None:
        if self._guard is not None:
            self._guard.communicate(word, timeout=60)
            self._guard = None


def _binaries() -> Path:
    """Where initdb and postgres lie: Debian's newest version, or the PATH."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: float(folder.parent.name))
    found = shutil.which("initdb", path=os.pathsep.join([*map(str, reversed(folders)), os.environ.get("PATH", "")]))
    if found is None:
        raise Missing("TEST_DATABASE_URL is not set, and no initdb lies under /usr/lib/postgresql or on the PATH")
    if os.getuid() == 0 and shutil.which("runuser") is None:
        raise Missing("PostgreSQL does not run as root, and there is no runuser")
    return Path(found).resolve().parent


class Databases:
    """Databases on the server of `url`, under names of this process's own, so that several may share a server."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url).set(drivername="postgresql")
        self._prefix = f"backlot_test_{uuid4().hex[:12]}_"
        self._number = itertools.count(1)
        self._admin = psycopg.connect(url, autocommit=True)
        self._template = self._create("")
        open_database(self._template).close()

    @contextmanager
    def empty(self) -> Generator[str]:
        """The url of a new database without any table, dropped afterwards."""
        url = self._create("")
        yield url
        self._drop(url)

    @contextmanager
    def migrated(self) -> Generator[str]:
        """The same with all tables: a copy of one that was migrated once (16 ms, 2026-11-21)."""
        url = self._create(f"TEMPLATE {make_url(self._template).database} STRATEGY FILE_COPY")
        yield url
        self._drop(url)

    def close(self) -> None:
        for (name,) in self._admin.execute(
                "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [self._prefix]).fetchall():
            self._drop(self._url.set(database=name).render_as_string(hide_password=False))
        self._admin.close()

    def _create(self, how: str) -> str:
        name = f"{self._prefix}{next(self._number)}"
        self._admin.execute(f"CREATE DATABASE {name} {how}")
        return self._url.set(database=name).render_as_string(hide_password=False)

    def _drop(self, url: str) -> None:
        self._admin.execute(f"DROP DATABASE {make_url(url).database} WITH (FORCE)")


@contextmanager
def databases() -> Generator[Databases]:
    """On TEST_DATABASE_URL's server, or on one started for this. Raises Missing."""
    server = None if "TEST_DATABASE_URL" in os.environ else PostgresServer(*CARELESS)
    try:
        made = Databases(os.environ["TEST_DATABASE_URL"] if server is None else server.url())
        try:
            yield made
        finally:
            made.close()
    finally:
        if server is not None:
            server.close()


def skip_or_fail(missing: Missing) -> NoReturn:
    if os.environ.get("TEST_POSTGRES") == "required":
        pytest.fail(f"TEST_POSTGRES=required, and there is no PostgreSQL: {missing}")
    pytest.skip(f"no PostgreSQL: {missing}")


@pytest.fixture(scope="session")
def postgres() -> Generator[Databases]:
    """One server a test process (0.6 s to start)."""
    try:
        with databases() as made:
            yield made
    except Missing as missing:
        skip_or_fail(missing)


@pytest.fixture
def postgres_url(postgres: Databases) -> Generator[str]:
    """A migrated database of this test's own."""
    with postgres.migrated() as url:
        yield url
