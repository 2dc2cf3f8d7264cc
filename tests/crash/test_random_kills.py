"""Fifty kills at random moments of a catalog of twenty jobs (G1, G2, G5): what no list of points can foresee."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable

import pytest
from toy_home import Home
from toy_worker import Workers

JOBS = 20
KILLS = 50


@pytest.mark.slow
@pytest.mark.parametrize("round_", range(2))
def test_fifty_kills_lose_nothing_publish_nothing_twice_and_repeat_at_most_a_pass_each(
        round_: int, workers: Workers, homes: Callable[..., Home]) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    clean, home = homes(), homes()
    jobs = [{"job_id": f"sku-{number}", "amount": number, "seconds": 0.06, "debug_mode": number % 3 == 0}
            for number in range(JOBS)]
    assert workers.run(**clean.case(*jobs)).status == 0
    kills = 0
    while True:
        began = len(home.history())
        worker = workers.start(**home.case(*jobs, time_passed=True, skip_completed=True))
        if kills < KILLS and _works(home, began):
            time.sleep(dice.uniform(0, 0.1))
            os.kill(worker, signal.SIGKILL)
        ended = workers.wait(worker)
        if not ended.killed:
            break
        kills += 1
        assert home.check().faults == ()
    assert ended.status == 0
    assert kills == KILLS, "the catalog ended before the kills did"
    assert home.violations([one["job_id"] for one in jobs], repeats=kills) == []
    assert home.finals() == clean.finals()


def _works(home: Home, began: int) -> bool:
    """Wait until the worker has done something; False where it had nothing left to do."""
    until = time.monotonic() + 5
    while time.monotonic() < until:
        if len(home.history()) > began:
            return True
        time.sleep(0.002)
    return False
