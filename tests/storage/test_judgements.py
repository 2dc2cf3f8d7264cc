"""How true a job's final picture was found to be, and the state of a job that waits for a person."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from storage.errors import JobNotFound
from storage.records import Judgement

SAME = Judgement(name="min_tile_ncc", version=1, value=0.99, limit=0.95, verdict="pass", said="of 12 tiles")
BLIND = Judgement(name="expansion", version=1, value=None, limit=None, verdict="abstain", said="it cannot tell")


def made(world: Any, job_id: str = "job-1", picture: str = "lit") -> tuple[Any, Any]:
    """A job with a placed product and a final picture."""
    world.job(job_id)
    world.run(world.parts("place"), "placed", job_id)
    world.run(world.parts("mix", picture=picture), picture, job_id)
    return world.artifact("placed"), world.artifact(picture)


def test_what_was_found_is_told_by_name(world: Any) -> None:
    pictures = made(world)
    assert world.lineage.judgements("job-1") == []
    world.ledger.record_judgements("job-1", *pictures, [SAME, BLIND])
    assert world.lineage.judgements("job-1") == [BLIND, SAME]


def test_found_again_it_takes_the_place_of_what_was_found_before(world: Any) -> None:
    pictures = made(world)
    for judgements in ([SAME, BLIND], [SAME], [SAME]):
        world.ledger.record_judgements("job-1", *pictures, judgements)
    assert world.lineage.judgements("job-1") == [SAME]
    world.ledger.record_judgements("job-1", *pictures, [])
    assert world.lineage.judgements("job-1") == []


def test_the_same_pictures_were_measured_before_and_others_not(world: Any) -> None:
    placed, picture = made(world)
    world.ledger.record_judgements("job-1", placed, picture, [SAME, BLIND])
    other = made(world, "job-2", "other")
    assert world.ledger.known_judgements(placed, picture, 1) == [BLIND, SAME]
    for unknown in ((placed, picture, 2), (*other, 1), (picture, placed, 1)):
        assert world.ledger.known_judgements(*unknown) == []


def test_a_job_that_needs_review_is_made_and_counts_a_round_when_it_runs_again(world: Any) -> None:
    world.job()
    world.ledger.close_job("job-1", "needs_review", flow_run_id="another run")
    job = world.lineage.job("job-1")
    assert (job.state, job.error) == ("needs_review", None)
    assert job.finished_at is not None
    assert world.ledger.open_job(world.new_job("job-1")).state == "running"


def test_a_verdict_without_its_value_is_refused(world: Any) -> None:
    pictures = made(world)
    wrong = Judgement(name="min_tile_ncc", version=1, value=None, limit=0.95, verdict="fail", said="-")
    with pytest.raises(IntegrityError, match="abstains_without_a_value"):
        world.ledger.record_judgements("job-1", *pictures, [wrong])


def test_a_job_that_is_not_there_was_not_judged(world: Any) -> None:
    with pytest.raises(JobNotFound):
        world.lineage.judgements("job-9")
