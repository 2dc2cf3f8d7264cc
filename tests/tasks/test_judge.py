"""What is measured of a final picture decides whether it is delivered; every measure is recorded and told."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.fidelity import Measure
from models.pictures import Picture, over
from storage.faults import install
from storage.records import Artifact, NewJob
from storage.settings import Settings
from tasks import judge as module
from tasks.deliver import deliver, withdraw
from tasks.judge import judge
from tasks.progress import Event, Judged, listening
from tasks.requests import JobRef
from tasks.run_pass import put_picture
from tasks.services import Services

SIDE = 160
PLACED = np.zeros((SIDE, SIDE, 4), dtype=np.uint8)
PLACED[20:140, 20:140, :3] = np.random.default_rng(3).integers(30, 200, (120, 120, 3))
PLACED[20:140, 20:140, 3] = 255
SCENE = np.full((SIDE, SIDE, 3), 230, dtype=np.uint8)


@pytest.fixture
def here(tmp_path: Path) -> Generator[Services]:
    services = Services(settings=Settings(home=tmp_path))
    for job_id in "ab":
        services.ledger.open_job(NewJob(job_id=job_id, pipeline="toy", profile="tiny", requested={"n": job_id},
                                        resolved={}, schema_version=1))
    return services


def kept(here: Services, picture: Picture, name: str) -> Artifact:
    artifact = put_picture(here, picture)
    here.ledger.observe_source("a", f"file:///{name}.png", "1", 1, None, artifact.digest, artifact, "toy")
    return artifact


def pictures(here: Services, final: Picture) -> tuple[Artifact, Artifact]:
    return kept(here, PLACED.copy(), "placed"), kept(here, final, "final")


def job(job_id: str = "a") -> JobRef:
    return JobRef(job_id=job_id, pipeline="toy", profile="tiny")


def garbled() -> Picture:
    made = over(PLACED, SCENE)
    made[60:92, 60:92] = made[60:92, 60:92][::-1, ::-1].copy()
    return made


def test_the_product_itself_may_be_delivered(here: Services) -> None:
    assert judge(here, job(), *pictures(here, over(PLACED, SCENE)))
    found = {one.name: one for one in here.lineage.judgements("a")}
    assert set(found) == {"min_tile_ncc", "clipped_share", "expansion"}
    assert (found["min_tile_ncc"].verdict, found["min_tile_ncc"].limit) == ("pass", 0.85)
    assert (found["min_tile_ncc"].value or 0) > 0.999
    assert found["clipped_share"].verdict == "reported"


def test_one_garbled_place_is_enough_to_hold_it_back(here: Services) -> None:
    seen: list[Event] = []
    with listening(seen.append):
        assert not judge(here, job(), *pictures(here, garbled()))
    [failed] = [one for one in here.lineage.judgements("a") if one.verdict == "fail"]
    assert failed.name == "min_tile_ncc"
    assert (failed.value or 0) < 0.5
    told = [event.judgement for event in seen if isinstance(event, Judged)]
    assert {one.name for one in told} == {"min_tile_ncc", "clipped_share", "expansion"}
    assert failed in told


def test_the_limit_is_a_setting_and_todays_counts(here: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    given = pictures(here, garbled())
    assert not judge(here, job(), *given)
    lenient = Services(settings=here.settings.model_copy(update={"min_tile_ncc": -1.0}))
    assert judge(lenient, job("b"), *given)
    assert {one.verdict for one in here.lineage.judgements("b") if one.name == "min_tile_ncc"} == {"pass"}


def test_pictures_that_were_measured_are_not_measured_again(here: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    given = pictures(here, garbled())
    judge(here, job(), *given)

    def never(*args: Any) -> Any:
        raise AssertionError("measured again")

    monkeypatch.setattr(module, "measures", never)
    assert not judge(here, job("b"), *given)
    assert here.lineage.judgements("b") == here.lineage.judgements("a")
    monkeypatch.setattr(module, "VERSION", 99)
    with pytest.raises(AssertionError, match="measured again"):
        judge(here, job("b"), *given)


def test_what_cannot_be_measured_holds_nothing_back_and_says_so(
        here: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    blind = Measure(name="min_tile_ncc", value=None, said="nothing textured to compare")
    monkeypatch.setattr(module, "measures", lambda placed, picture: (blind,))
    assert judge(here, job(), *pictures(here, garbled()))
    [one] = here.lineage.judgements("a")
    assert (one.verdict, one.said) == ("abstain", "nothing textured to compare")


def test_a_withdrawal_that_was_cut_short_is_ended_by_the_next(here: Services) -> None:
    """Killed between its row and its file: a file that no row names, which no repair would deliver again."""
    _, final = pictures(here, garbled())
    uri = deliver(here, job(), "final", final, {})

    def die(name: str) -> None:
        if name == "database.committed":
            raise KeyboardInterrupt

    install(die)
    try:
        with pytest.raises(KeyboardInterrupt):
            withdraw(here, job(), "final", final)
    finally:
        install(None)
    left = Path(uri.removeprefix("file://"))
    assert here.lineage.outputs("a") == []
    assert left.exists()
    withdraw(here, job(), "final", final)
    assert not left.exists()
