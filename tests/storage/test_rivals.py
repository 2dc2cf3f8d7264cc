"""Workers after the same keys: racing (G8), stale (G9), with wrong clocks; and a crash of the database (G12)."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
from postgres import Missing, PostgresServer, skip_or_fail
from sqlalchemy import func, select

from storage.records import Busy, Claim, Execution
from storage.tables import pass_execution, pass_output


def states(world: Any) -> Counter[str]:
    with world.database.read() as connection:
        return Counter(connection.execute(select(pass_execution.c.state)).scalars().all())


def successes(world: Any) -> dict[str, str]:
    """{key: exec_id} of those that succeeded, of which each key must have one."""
    with world.database.read() as connection:
        rows = connection.execute(select(pass_execution.c.key, pass_execution.c.exec_id)
                                  .where(pass_execution.c.state == "succeeded")).all()
    assert len({row.key for row in rows}) == len(rows)
    return {row.key: row.exec_id for row in rows}


def test_of_sixteen_threads_that_want_sixty_keys_one_makes_each_and_all_adopt_it(world: Any) -> None:
    """Each would make other pixels, as GPUs do."""
    world.job()
    ready = threading.Barrier(16)

    def work(number: int) -> dict[int, str]:
        got = {}
        ready.wait()
        for key in range(60):
            parts = world.parts(key=key)
            while not isinstance(answer := world.claim(parts), Execution):
                if isinstance(answer, Claim):
                    world.commit(answer, parts, f"{key} made by {number}", at=f"mix-{key}", position=key)
                else:
                    time.sleep(random.uniform(0.001, 0.01))
            got[key] = answer.outputs["mix"].digest
        return got

    with ThreadPoolExecutor(16) as pool:
        first, *others = pool.map(work, range(16))
    assert len(set(first.values())) == 60
    assert all(other == first for other in others)
    assert states(world) == {"succeeded": 60}
    assert len(successes(world)) == 60


def test_of_many_processes_that_want_the_same_keys_one_executes_each(
        world: Any, race: Callable[..., list[str]]) -> None:
    script = f"""
import time
from storage.database import open_database
from storage.ledger import Ledger
from storage.records import Artifact, Claim, Execution, KeyParts, RunFacts
ledger, executed = Ledger(open_database({world.url!r})), 0
wait()
for number in range(25):
    parts = KeyParts(pass_name="mix", pass_version=1, params={{"n": number}}, inputs={{}}, weights={{}})
    while not isinstance(answer := ledger.claim(parts, job_id="job-1", worker="w", lease_seconds=30), Execution):
        if isinstance(answer, Claim):
            picture = Artifact(digest=parts.key, media_type="image/png", bytes=1, width=1, height=1)
            ledger.commit(answer, parts, {{"lit": picture}}, RunFacts(seconds=0), job_id="job-1", at=f"mix-{{number}}",
                          position=number, reason="new")
            executed += 1
        time.sleep(0.001)
print(executed)
"""
    world.job()
    assert sum(int(executed) for executed in race(script, 4)) == 25
    with world.database.read() as connection:
        assert connection.execute(select(func.count()).select_from(pass_output)).scalar() == 25


STALE = """
import sys, time
from collections import deque
from storage.database import open_database
from storage.errors import FencedOff
from storage.ledger import Ledger
from storage.records import Artifact, Busy, Claim, Execution, KeyParts, RunFacts
url, worker, keys = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
ledger, asleep = Ledger(open_database(url)), worker > 2
pending = deque(range(keys))
pending.rotate(-worker * keys // 5)
print("ready", flush=True)
sys.stdin.readline()
while pending:
    number = pending.popleft()
    parts = KeyParts(pass_name="mix", pass_version=1, params={"n": number}, inputs={}, weights={})
    answer = ledger.claim(parts, job_id="job-1", worker=str(worker), lease_seconds=1)
    if isinstance(answer, Execution):
        continue
    if isinstance(answer, Busy):
        pending.append(number)
        time.sleep(0.02)
        continue
    if not asleep:
        asleep = True
        print("asleep", flush=True)
        time.sleep(2.6)
    picture = Artifact(digest=parts.key, media_type="image/png", bytes=1, width=1, height=1)
    try:
        made = ledger.commit(answer, parts, {"lit": picture}, RunFacts(seconds=0), job_id="job-1", at=f"mix-{number}",
                             position=number, reason="new")
        print("acked", parts.key, made.exec_id, flush=True)
    except FencedOff:
        print("fenced", flush=True)
"""


def go(worker: subprocess.Popen[str]) -> None:
    assert worker.stdin is not None
    worker.stdin.write("go\n")
    worker.stdin.flush()


def until_asleep(worker: subprocess.Popen[str]) -> Iterator[str]:
    """Let it go; what it says before it falls asleep."""
    go(worker)
    assert worker.stdout is not None
    while (line := worker.stdout.readline()) != "asleep\n":
        assert line, "it ended without a claim"
        yield line


def test_workers_that_sleep_past_their_lease_or_die_commit_no_key_twice(world: Any) -> None:
    """Five workers, thirty keys, leases of 1 s. Three fall asleep on a claim for longer than that: one of them is
    killed then, one stopped as well. The two others take their keys over."""
    world.job()
    workers = [subprocess.Popen([sys.executable, "-c", STALE, world.url, str(number), "30"], text=True,
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE) for number in range(5)]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    _, killed, stopped, *_ = workers
    # They first, and the others when they sleep: on a busy machine those would make every key before they claim one.
    said = [line for worker in (killed, stopped) for line in until_asleep(worker)]
    for worker in workers:
        if worker not in (killed, stopped):
            go(worker)
    os.kill(killed.pid, signal.SIGKILL)
    os.kill(stopped.pid, signal.SIGSTOP)
    time.sleep(3)
    os.kill(stopped.pid, signal.SIGCONT)
    said.extend(line for worker in workers for line in worker.communicate(timeout=60)[0].splitlines())
    assert [worker.returncode for worker in workers] == [0, -signal.SIGKILL, 0, 0, 0]
    acked = [line.split()[1:] for line in said if line.startswith("acked")]
    assert successes(world) == dict(acked)
    assert len(acked) == 30
    assert said.count("fenced") in (1, 2)  # they did wake up, and came too late; one of them only if others were quick
    assert states(world) == {"succeeded": 30, "failed": said.count("fenced") + 1}


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_workers_wrong_clock_changes_nothing(world: Any, monkeypatch: pytest.MonkeyPatch, hours: int) -> None:
    true = time.time
    world.job()
    mine, parts = world.claim(world.parts(mine=1), lease_seconds=600), world.parts(mine=1)
    monkeypatch.setattr(time, "time", lambda: true() + 3600 * hours)
    busy = world.claim(parts)
    assert isinstance(busy, Busy)  # no early takeover, and no endless lease
    assert 500 <= busy.seconds_left <= 600
    world.ledger.renew(mine, 300)
    assert 200 <= world.claim(parts).seconds_left <= 300
    world.expire(mine)
    taken = world.claim(parts)
    assert isinstance(taken, Claim)
    made = world.commit(taken, parts, "lit")
    assert abs(made.ended_at - true()) < 600
    assert abs(world.ledger.open_job(world.new_job("job-2")).created_at - true()) < 600


@pytest.mark.slow
def test_a_database_that_crashes_under_eight_writers_loses_and_doubles_nothing(make_world: Any) -> None:
    """PostgreSQL with fsync on, as in production, stopped at once and started again 10 s later."""
    try:
        started = PostgresServer()
    except Missing as missing:
        skip_or_fail(missing)
    with closing(started) as server, make_world(server.url()) as world:
        world.job()
        until = time.monotonic() + 20

        def work(number: int) -> list[tuple[str, str, float]]:
            acked: list[tuple[str, str, float]] = []
            while (begun := time.monotonic()) < until:
                parts = world.parts(worker=number, number=len(acked))
                made = world.commit(world.claim(parts), parts, f"{number} {len(acked)}", at=parts.key)
                acked.append((parts.key, made.exec_id, time.monotonic() - begun))
            return acked

        with ThreadPoolExecutor(8) as pool:
            writing = [pool.submit(work, number) for number in range(8)]
            time.sleep(4)
            server.crash()
            time.sleep(10)
            server.start()
            acked = [one for each in writing for one in each.result()]
        assert successes(world) == {key: exec_id for key, exec_id, _ in acked}
        assert states(world) == {"succeeded": len(acked)}
        assert 9 < max(took for _, _, took in acked) < 30  # they waited through it
