"""Several workers at the same keys: racing (G8), dead, or stopped past their lease and then awake again (G9)."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
from toy_home import Home
from toy_worker import Workers

Homes = Callable[..., Home]


def test_of_four_workers_racing_through_the_same_documents_each_pass_is_computed_once(workers: Workers,
                                                                                       homes: Homes) -> None:
    home = homes()
    names = [f"{worker}-{amount}" for worker in "abcd" for amount in (1, 2)]
    racers = [workers.start(**home.case(*({"job_id": f"{worker}-{amount}", "amount": amount, "seconds": 0.1}
                                          for amount in (1, 2)))) for worker in "abcd"]
    assert [workers.wait(racer).status for racer in racers] == [0, 0, 0, 0]
    assert home.violations(names, repeats=0) == []
    assert len(set(home.finals().values())) == 2


def test_a_dead_workers_pass_is_taken_over_when_its_lease_ends(workers: Workers, homes: Homes) -> None:
    home = homes(lease_seconds=3)
    assert workers.run(**home.case({"job_id": "a"}, die_at=["pass.claimed", 2])).killed
    started = time.monotonic()
    assert workers.run(**home.case({"job_id": "a"})).status == 0
    assert time.monotonic() - started > 2  # the claim was fresh, and nobody else's to take
    assert home.violations(["a"], repeats=1) == []


@pytest.mark.parametrize("stopped_at", [pytest.param("pass.claimed", marks=pytest.mark.slow), "artifact.stored"])
def test_a_worker_stopped_past_its_lease_commits_nothing_and_its_job_still_ends_right(
        stopped_at: str, workers: Workers, homes: Homes) -> None:
    """Stopped before the first pass, and between its stored bytes and its commit."""
    home = homes(lease_seconds=3)
    assert _sleeper_and_heir(workers, home, stopped_at) == (0, 0)
    assert home.violations(["sleeper", "heir"], repeats=1) == []
    assert home.history()[-1].get("failed") is None
    assert _makers(home) == {"heir"}


@pytest.mark.slow
def test_without_the_fence_a_stopped_worker_does_harm_and_is_seen(workers: Workers, homes: Homes) -> None:
    home = homes(lease_seconds=3)
    ended = _sleeper_and_heir(workers, home, "artifact.stored", broken="no_fence", may_fail=True)
    assert ended != (0, 0) or home.violations(["sleeper", "heir"], repeats=1)


def _sleeper_and_heir(workers: Workers, home: Home, stopped_at: str, **more: Any) -> tuple[int, int]:
    # the photo is the first to be stored, the first pass's picture the second
    sleeper = workers.start(**home.case({"job_id": "sleeper"}, **more, stop_at=[
        stopped_at, 2 if stopped_at == "artifact.stored" else 1]))
    _await_stop(sleeper)
    heir = workers.run(**home.case({"job_id": "heir"})).status  # waits for the lease's end, as it must
    os.kill(sleeper, signal.SIGCONT)
    return workers.wait(sleeper).status, heir


def _await_stop(pid: int) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        with open(f"/proc/{pid}/stat") as file:
            if file.read().rpartition(")")[2].split()[0] == "T":
                return
        time.sleep(0.02)
    raise AssertionError("it did not stop")


def _makers(home: Home) -> set[str]:
    from sqlalchemy import select

    from storage.tables import pass_execution

    return set(home.ask(lambda connection: connection.execute(
        select(pass_execution.c.job_id).where(pass_execution.c.state == "succeeded")).scalars().all()))
