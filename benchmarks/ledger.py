"""How many passes a second can eight processes record together, and is every acknowledged one there afterwards?

    python benchmarks/ledger.py        prints the table and writes benchmarks/results/DATE-ledger.md

A pass is what run_pass asks of the ledger: claim a new key, store a picture (or none), commit. Every process has keys
of its own. PostgreSQL is TEST_DATABASE_URL's, or a server of this run's own with fsync on; without one its rows say so.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sqlalchemy import select

from storage.artifacts import ArtifactStore
from storage.database import Database, open_database
from storage.digests import sha256_hex
from storage.ledger import Ledger
from storage.records import Artifact, Claim, KeyParts, NewJob, RunFacts
from storage.tables import pass_execution, pass_output

ROOT = Path(__file__).resolve().parent.parent
PROCESSES = 8
PASSES = 150
PICTURE = 400_000
sys.path.insert(0, str(ROOT / "tests/helpers"))

from postgres import Databases, Missing, PostgresServer  # noqa: E402

Acknowledged = tuple[str, str, float]
"""(key, exec_id, seconds from asking for the claim to the commit's answer)"""


@dataclass(frozen=True, kw_only=True)
class Case:
    """url: of a migrated database; store: a folder, or None for rows alone."""

    url: str
    store: str | None


def work(case: Case, number: int, ready: Any, told: Any) -> None:
    """One process: its passes, one after the other."""
    ledger, draw = Ledger(open_database(case.url)), random.Random(number)
    store = ArtifactStore(case.store) if case.store else None
    acknowledged: list[Acknowledged] = []
    ready.wait()
    for nth in range(PASSES):
        parts = KeyParts(pass_name="mix", pass_version=1, params={"process": number, "nth": nth, "scale": 0.5},
                         inputs={"placed": sha256_hex(b"photo")}, weights={})
        data = draw.randbytes(PICTURE if store else 20)
        started = time.perf_counter()
        claim = ledger.claim(parts, job_id="job", worker=str(number), lease_seconds=90)
        if not isinstance(claim, Claim):
            sys.exit(f"this was no measurement: {claim}")
        picture = (store.put(data, media_type="image/png", width=1, height=1) if store else
                   Artifact(digest=sha256_hex(data), media_type="image/png", bytes=len(data), width=1, height=1))
        made = ledger.commit(claim, parts, {"lit": picture}, RunFacts(seconds=0.1), job_id="job",
                             at=f"{number}-{nth}", position=nth, reason="new")
        acknowledged.append((parts.key, made.exec_id, time.perf_counter() - started))
    told.put(acknowledged)


def measure(case: Case) -> tuple[float, list[Acknowledged]]:
    """(seconds, what was acknowledged), after all of it was found again."""
    database = open_database(case.url)
    ledger = Ledger(database)
    ledger.open_job(NewJob(job_id="job", pipeline="omni-bg", profile="tiny", requested={}, resolved={},
                           schema_version=1))
    ledger.observe_source("job", "file:///photo.jpg", "1", 1, None, sha256_hex(b"file"), Artifact(
        digest=sha256_hex(b"photo"), media_type="image/png", bytes=1, width=1, height=1), "decoder")
    spawn = multiprocessing.get_context("spawn")
    ready, told = spawn.Barrier(PROCESSES + 1), spawn.Queue()
    processes = [spawn.Process(target=work, args=(case, number, ready, told)) for number in range(PROCESSES)]
    for process in processes:
        process.start()
    ready.wait()
    started = time.perf_counter()
    acknowledged = [one for _ in processes for one in told.get()]
    seconds = time.perf_counter() - started
    for process in processes:
        process.join()
    check(database, case, acknowledged)
    database.close()
    return seconds, acknowledged


def check(database: Database, case: Case, acknowledged: list[Acknowledged]) -> None:
    with database.read() as connection:
        rows = connection.execute(select(pass_execution.c.key, pass_execution.c.exec_id, pass_output.c.digest)
                                  .join_from(pass_execution, pass_output)
                                  .where(pass_execution.c.state == "succeeded")).all()
    if sorted((row.key, row.exec_id) for row in rows) != sorted(one[:2] for one in acknowledged):
        sys.exit(f"{len(acknowledged)} passes were acknowledged, and the rows are not those: {len(rows)}")
    if case.store and not all(ArtifactStore(case.store).intact(row.digest) for row in rows):
        sys.exit("a picture of an acknowledged pass is not there")


def row(name: str, picture: str, case: Case) -> str:
    seconds, acknowledged = measure(case)
    took = sorted(one[2] for one in acknowledged)
    return (f"| {name} | {picture} | {len(acknowledged):,} | 0 | {len(acknowledged) / seconds:,.0f} | "
            f"{1000 * statistics.median(took):.0f} ms | {1000 * took[int(0.99 * len(took))]:.0f} ms | "
            f"{1000 * took[-1]:.0f} ms |")


def rows(name: str, new_database: Callable[[], Any]) -> list[str]:
    found = []
    for picture in ("none", f"{PICTURE // 1000} kB"):
        with new_database() as url, tempfile.TemporaryDirectory(prefix="backlot-ledger-") as folder:
            found.append(row(name, picture, Case(url=url, store=None if picture == "none" else folder)))
    return found


@contextmanager
def sqlite() -> Generator[str]:
    with tempfile.TemporaryDirectory(prefix="backlot-ledger-") as folder:
        yield f"sqlite:///{folder}/backlot.db"


def postgresql() -> list[str]:
    try:
        if given := os.environ.get("TEST_DATABASE_URL"):
            with closing(Databases(given)) as databases:
                return rows("PostgreSQL", databases.migrated)
        with closing(PostgresServer()) as server, closing(Databases(server.url())) as databases:
            return rows("PostgreSQL", databases.migrated)
    except Missing as missing:
        return [f"| PostgreSQL | not measured: {missing} | | | | | | |"]


def main() -> None:
    load, databases = os.getloadavg()[0], "\n".join([*rows("SQLite", sqlite), *postgresql()])
    where = "as its server is set" if "TEST_DATABASE_URL" in os.environ else "on the same machine, fsync on"
    text = f"""# Passes recorded a second, {date.today()}

`python benchmarks/ledger.py`: {PROCESSES} processes record {PASSES} passes each, all of them new: claim the key (a read
and a write transaction), store a picture in a local folder or none, commit the result (a write transaction). Each
acknowledged pass was then looked for; lost are those that are not there, or there twice, or without their picture.
Writers take turns on both databases, so a pass waits for {PROCESSES - 1} others; a real one computes for seconds.

| database | picture | acknowledged | lost | a second | median | 99th percentile | longest |
|---|---|---:|---:|---:|---:|---:|---:|
{databases}

SQLite: WAL, synchronous=NORMAL; PostgreSQL: {where}, SERIALIZABLE. {platform.machine()}, {os.cpu_count()} cores,
load average before: {load:.1f}; Python {platform.python_version()}, SQLAlchemy {version('sqlalchemy')}, psycopg
{version('psycopg')}.
"""
    (ROOT / "benchmarks" / "results" / f"{date.today()}-ledger.md").write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
