"""kill -9 at every point of a repair: the next one ends it, and no content of any file is gone but a torn draft."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from toy_faults import spoil
from toy_home import Home
from toy_worker import Workers

from storage.digests import sha256_hex
from storage.settings import Settings
from tasks.services import Services

JOBS = ({"job_id": "first", "amount": 1, "debug_mode": True}, {"job_id": "second", "amount": 2})


def test_a_repair_that_is_killed_anywhere_is_ended_by_the_next(workers: Workers, homes: Callable[..., Home]) -> None:
    home = spoilt(workers, homes)
    assert len(home.check().faults) == 6
    assert workers.run(**home.case(repair=True)).status == 0
    ran = len(spoilt(workers, homes).points())
    points = home.points()[ran:]
    assert len(points) > 15
    for point, nth in points:
        home = spoilt(workers, homes)
        before = contents(home.folder)
        assert workers.run(**home.case(repair=True, die_at=[point, nth])).killed
        assert workers.run(**home.case(repair=True)).status == 0
        assert home.check().faults == (), (point, nth)
        assert before - contents(home.folder) <= {sha256_hex(b"torn")}, (point, nth)
        assert workers.run(**home.case(*JOBS)).status == 0
        assert home.check().faults == (), (point, nth)


def spoilt(workers: Workers, homes: Callable[..., Home]) -> Home:
    home = homes()
    assert workers.run(**home.case(*JOBS)).status == 0
    here = Services(settings=Settings(home=home.folder))
    spoil(here)
    return home


def contents(folder: Path) -> set[str]:
    return {sha256_hex(path.read_bytes()) for part in ("artifacts", "outputs") for path in (folder / part).rglob("*")
            if path.is_file()}
