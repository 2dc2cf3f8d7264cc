"""kill -9 at every fault point, and every time it is reached, in a run of two jobs that share their first pass.

After each kill the checker must find nothing that the dead worker left wrong; then the same documents again must end
both jobs as if nothing had happened, with at most one pass computed twice (spec/reliability.md 4, G1 to G5).
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from toy_home import Home, kill_at_each
from toy_worker import Workers

JOBS = ({"job_id": "first", "amount": 1, "debug_mode": True}, {"job_id": "second", "amount": 2})
NAMES = ["first", "second"]

Homes = Callable[..., Home]


def test_a_killed_run_leaves_nothing_wrong_and_its_repetition_ends_it(workers: Workers, homes: Homes) -> None:
    bad, kills = kill_at_each(workers, homes, JOBS)
    assert bad == []
    assert kills > 60


def test_workers_load_no_torch(workers: Workers) -> None:
    """So a fork costs milliseconds; and jobs of reused passes load none either."""
    assert workers.facts["torch"] is False


def test_a_kill_while_damage_is_mended_is_mended_too(workers: Workers, homes: Homes) -> None:
    """The picture that both jobs rest on rots between them: it is set aside, declared lost and made anew."""
    clean = homes()
    assert workers.run(**clean.case(*JOBS, damage=True)).status == 0
    assert clean.violations(NAMES, repeats=1) == []
    points = clean.points()
    aside = points.index(("artifact.set_aside", 1))
    bad = []
    for point, nth in points[aside - 2:aside + 12]:
        home = homes()
        assert workers.run(**home.case(*JOBS, damage=True, die_at=[point, nth])).killed
        assert workers.run(**home.case(*JOBS, time_passed=True)).status == 0
        if wrong := home.violations(NAMES, repeats=2):
            bad.append((point, nth, wrong))
        assert home.finals() == clean.finals()
    assert bad == []


@pytest.mark.parametrize(("broken", "kind"), [("row_before_bytes", "missing"), ("row_before_delivery", "undelivered")])
def test_a_wrong_order_of_writes_is_seen_right_after_a_kill(broken: str, kind: str, workers: Workers,
                                                            homes: Homes) -> None:
    """The judge itself: code that writes a row before what it names must not pass."""
    whole = homes()
    assert workers.run(**whole.case(JOBS[0], broken=broken)).status == 0
    assert [one.kind for one in whole.check().faults] == []
    seen = set()
    for point, nth in whole.points():
        if point == "database.committed":
            home = homes()
            assert workers.run(**home.case(JOBS[0], broken=broken, die_at=[point, nth])).killed
            seen |= {one.kind for one in home.check().faults}
    assert seen == {kind}
