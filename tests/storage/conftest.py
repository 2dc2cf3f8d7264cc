"""A small world to remember things in, on each of the two databases, and jobs whose pictures are made of text."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from postgres import postgres, postgres_url  # noqa: F401  fixtures
from sqlalchemy import update

from storage.database import Database, open_database
from storage.digests import sha256_hex
from storage.ledger import Ledger
from storage.lineage import Lineage
from storage.records import Artifact, Claim, Execution, Job, KeyParts, NewJob, RunFacts
from storage.tables import pass_execution

READER = "decoder-1"


@dataclass(frozen=True)
class World:
    """Short words for what the tests do all the time."""

    url: str
    database: Database
    ledger: Ledger
    lineage: Lineage

    @property
    def database_file(self) -> str:
        """On SQLite."""
        return self.url.removeprefix("sqlite:///")

    def digest(self, text: str) -> str:
        return sha256_hex(text.encode())

    def artifact(self, text: str) -> Artifact:
        return Artifact(digest=self.digest(text), media_type="image/png", bytes=len(text), width=64, height=48)

    def new_job(self, job_id: str, **fields: Any) -> NewJob:
        return NewJob(**{"job_id": job_id, "pipeline": "omni-bg", "profile": "tiny", "requested": {"image": "a.jpg"},
                         "resolved": {"image": "a.jpg", "seed": 7}, "schema_version": 1, **fields})

    def job(self, job_id: str = "job-1", photo: str = "photo") -> Job:
        """An open job that has read its photo."""
        opened = self.ledger.open_job(self.new_job(job_id))
        self.ledger.observe_source(job_id, f"s3://in/{photo}.jpg", "9-1", 9, 1.5, self.digest(f"{photo}.jpg"),
                                   self.artifact(photo), READER)
        return opened

    def parts(self, pass_name: str = "mix", *, version: int = 1, inputs: dict[str, str] | None = None,
              weights: dict[str, str] | None = None, **params: Any) -> KeyParts:
        """inputs, weights: role -> text."""
        given = {"photo": "photo"} if inputs is None else inputs
        return KeyParts(pass_name=pass_name, pass_version=version, params=params,
                        inputs={role: self.digest(text) for role, text in given.items()},
                        weights={role: self.digest(text) for role, text in (weights or {}).items()})

    def claim(self, parts: KeyParts, job_id: str = "job-1", **options: Any) -> Any:
        return self.ledger.claim(parts, job_id=job_id, worker="here:1", **{"lease_seconds": 60, **options})

    def commit(self, claim: Claim, parts: KeyParts, made: str, job_id: str = "job-1", *, at: str | None = None,
               position: int = 1, role: str | None = None, **facts: Any) -> Execution:
        """made: the text of the picture; role: the output's, by default the pass's name."""
        return self.ledger.commit(
            claim, parts, {role or parts.pass_name: self.artifact(made)}, RunFacts(**{"seconds": 1.5, **facts}),
            job_id=job_id, at=at or parts.pass_name, position=position, reason="new")

    def run(self, parts: KeyParts, made: str, job_id: str = "job-1", *, at: str | None = None, position: int = 1,
            role: str | None = None, refresh: bool = False) -> Execution:
        """What run_pass does: reuse, or claim and commit."""
        answer = self.claim(parts, job_id, refresh=refresh)
        if isinstance(answer, Execution):
            self.ledger.rest_on(job_id, at or parts.pass_name, position, answer, "same")
            return answer
        return self.commit(answer, parts, made, job_id, at=at, position=position, role=role)

    def expire(self, claim: Claim) -> None:
        """Let the lease have ended long ago."""
        with self.database.write() as connection:
            connection.execute(update(pass_execution).where(pass_execution.c.exec_id == claim.exec_id)
                               .values(lease_until=1))

    def execution(self, exec_id: str) -> Any:
        """The raw row."""
        with self.database.read() as connection:
            return connection.execute(pass_execution.select().where(pass_execution.c.exec_id == exec_id)).one()


@pytest.fixture
def race() -> Callable[..., list[str]]:
    """race(script, count): run the script in `count` processes that go on past `wait()` together; what each printed.

    In the script, sys.argv[1] is the process's number.
    """
    def run(script: str, count: int) -> list[str]:
        code = f"import sys\ndef wait():\n    print('ready', flush=True)\n    sys.stdin.readline()\n{script}"
        racers = [subprocess.Popen([sys.executable, "-c", code, str(number)], text=True, stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE) for number in range(count)]
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        printed = [racer.communicate(timeout=60)[0] for racer in racers]
        assert [racer.returncode for racer in racers] == [0] * count
        return printed

    return run


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file with all tables and no rows."""
    path = tmp_path_factory.mktemp("migrated") / "backlot.db"
    open_database(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def sqlite_url(tmp_path: Path, migrated: Path) -> str:
    return f"sqlite:///{shutil.copy(migrated, tmp_path / 'backlot.db')}"


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    """A migrated database of this test's own, of each kind."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def world(url: str) -> Generator[World]:
    """The world on each kind of database."""
    with world_at(url) as made:
        yield made


@pytest.fixture
def sqlite_world(sqlite_url: str) -> Generator[World]:
    with world_at(sqlite_url) as made:
        yield made


@pytest.fixture
def postgres_world(postgres_url: str) -> Generator[World]:  # noqa: F811
    with world_at(postgres_url) as made:
        yield made


@pytest.fixture
def make_world() -> Callable[[str], AbstractContextManager[World]]:
    """make_world(url): the world at a database of the test's own making."""
    return world_at


@contextmanager
def world_at(url: str) -> Generator[World]:
    database = open_database(url)
    yield World(url=url, database=database, ledger=Ledger(database), lineage=Lineage(database))
    database.close()
