"""What repair must leave to those who are at work while it looks: bytes about to be named, and leases that live."""

from typing import Any

import pytest
from kept import FAR, JOB, Kept, png
from kept_repair import check, heal
from sqlalchemy import select

from storage.dialect import now
from storage.files import put_whole
from storage.records import Artifact, Busy, KeyParts, NewJob, RunFacts
from storage.tables import pass_execution

pytest_plugins = ["store_fixtures", "kept_fixtures"]


def test_an_orphan_is_left_while_a_worker_might_be_about_to_name_it(kept: Kept) -> None:
    _, digest = kept.leave_an_orphan()
    kept.claim(KeyParts(pass_name="mix", pass_version=2, params={}, inputs={}, weights={}))
    assert [one.healed for one in heal(kept)] == [False]
    assert kept.store.intact(digest)


def open_another_job(kept: Kept) -> None:
    kept.ledger.open_job(NewJob(job_id="job-2", pipeline="omni-bg", profile="tiny", requested={}, resolved={},
                                schema_version=1))


def read_the_orphan_as_a_photo(kept: Kept) -> Artifact:
    """As ingest does it, without a lease: first the bytes, which are there already, then their row."""
    photo = kept.store.put(png(77), media_type="image/png", width=64, height=48)
    kept.ledger.observe_source("job-2", "file:///b.jpg", "9-1", 9, 1.5, "1" * 64, photo, "decoder-1")
    return photo


def test_an_orphan_is_left_while_a_job_runs_that_might_be_about_to_name_it(kept_anywhere: Kept) -> None:
    kept = kept_anywhere
    _, digest = kept.leave_an_orphan()
    open_another_job(kept)
    assert [(one.done, one.healed) for one in heal(kept)] == [
        ("left: the job job-2 is running and might be about to name it; if it was cut short, run it again", False)]
    read_the_orphan_as_a_photo(kept)
    assert check(kept).faults == ()
    kept.ledger.close_job("job-2", "failed")
    assert kept.store.intact(digest)


def test_an_orphan_goes_to_trash_once_the_job_is_over(kept_anywhere: Kept) -> None:
    kept = kept_anywhere
    _, digest = kept.leave_an_orphan()
    open_another_job(kept)
    kept.ledger.close_job("job-2", "failed", {})
    assert [one.done for one in heal(kept)] == ["moved to trash"]
    assert kept.at.read(f"trash/{digest}") == png(77)


@pytest.mark.parametrize("reads_it", ["before", "after", "never"])
def test_an_orphan_is_put_back_where_a_job_began_while_it_was_moved(
        kept_anywhere: Kept, reads_it: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = kept_anywhere
    _, digest = kept.leave_an_orphan()

    def begin_a_job(*args: Any, **named: Any) -> None:
        put_whole(*args, **named)
        open_another_job(kept)
        if reads_it == "before":
            read_the_orphan_as_a_photo(kept)

    monkeypatch.setattr("storage.repair.put_whole", begin_a_job)
    [done] = heal(kept)
    assert done.done.startswith("put back: ")
    assert done.healed == (reads_it == "before")
    assert kept.store.intact(digest)
    if reads_it == "after":  # its put found the bytes before they were moved, its row comes only now
        kept.ledger.observe_source("job-2", "file:///b.jpg", "9-1", 9, 1.5, "1" * 64, Artifact(
            digest=digest, media_type="image/png", bytes=len(png(77)), width=64, height=48), "decoder-1")
        assert check(kept).faults == ()


def test_an_orphan_that_was_named_since_it_was_found_is_left(kept: Kept) -> None:
    _, digest = kept.leave_an_orphan()
    findings = check(kept).faults
    named = kept.store.put(png(77), media_type="image/png", width=64, height=48)
    kept.ledger.observe_source(JOB, "file:///b.jpg", "9-1", 9, 1.5, "1" * 64, named, "decoder-1")
    assert [one.done for one in heal(kept, findings)] == ["a row names it by now"]
    assert kept.store.intact(digest)
    assert check(kept).faults == ()


def test_an_execution_that_got_its_lease_back_is_not_ended(kept: Kept) -> None:
    _, exec_id = kept.abandon()
    findings = check(kept).faults
    kept.set_lease(FAR)
    assert [one.done for one in heal(kept, findings)] == ["it has moved on by itself"]
    with kept.database.read() as connection:
        assert connection.exec_driver_sql(
            f"SELECT state FROM pass_execution WHERE exec_id = '{exec_id}'").scalar() == "running"


def test_a_worker_that_lives_keeps_its_claim_although_its_lease_was_endless(kept_anywhere: Kept) -> None:
    kept = kept_anywhere
    parts = KeyParts(pass_name="mix", pass_version=2, params={}, inputs={"photo": kept.photo.digest}, weights={})
    claim = kept.claim(parts)
    kept.set_lease(FAR)
    assert [one.done for one in heal(kept)] == ["its lease ends in 600 s, unless its worker lives and renews it"]
    kept.ledger.renew(claim, 90)
    kept.ledger.commit(claim, parts, {"lit": kept.made}, RunFacts(seconds=1.0), job_id=JOB, at="mix", position=1,
                       reason="new")
    assert check(kept).findings == ()


def test_the_key_of_an_endless_lease_is_free_again_after_ten_minutes(kept_anywhere: Kept) -> None:
    kept = kept_anywhere
    kept.lease_for_ever()
    parts = KeyParts(pass_name="mix", pass_version=2, params={}, inputs={}, weights={})
    heal(kept)
    answer = kept.ledger.claim(parts, job_id=JOB, worker="x", lease_seconds=60)
    assert isinstance(answer, Busy)
    assert 590 <= answer.seconds_left <= 600


def test_a_lease_that_is_as_it_should_be_by_now_is_left(kept: Kept) -> None:
    kept.lease_for_ever()
    findings = check(kept).faults
    kept.set_lease(now() + 3600)
    assert [one.done for one in heal(kept, findings)] == ["it has moved on by itself"]
    with kept.database.read() as connection:
        assert connection.execute(select(pass_execution.c.lease_until - now()).where(
            pass_execution.c.state == "running")).scalar_one() > 3590
