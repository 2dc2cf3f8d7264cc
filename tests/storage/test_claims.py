"""Who may compute a key, and who may record what came of it: one at a time, and never one who lost the right."""

import subprocess
import sys
import time
from typing import Any

import pytest
from sqlalchemy import select

from storage.errors import FencedOff
from storage.records import Busy, Claim, RunFacts
from storage.tables import artifact, environment, job_pass, pass_execution


def states(world: Any, key: str) -> list[tuple[int, int, str]]:
    """(generation, attempt, state) of every execution of `key`, as they were claimed."""
    run = pass_execution.c
    with world.database.read() as connection:
        return [tuple(row) for row in connection.execute(
            select(run.generation, run.attempt, run.state).where(run.key == key).order_by(run.fence))]


def test_a_new_key_is_claimed_and_its_result_answers_ever_after(world: Any) -> None:
    world.job()
    parts = world.parts(scale=0.5)
    claim = world.claim(parts)
    assert isinstance(claim, Claim)
    assert (claim.key, claim.generation, claim.attempt) == (parts.key, 1, 1)
    made = world.commit(claim, parts, "lit", model_calls=12, seconds=2.5)
    assert made.outputs == {"mix": world.artifact("lit")}
    assert (made.job_id, made.state, made.model_calls, made.seconds) == ("job-1", "succeeded", 12, 2.5)
    world.job("job-2")
    assert world.claim(parts, "job-2") == made


def test_outputs_come_back_in_the_order_they_were_given(world: Any) -> None:
    world.job()
    parts = world.parts()
    outputs = {name: world.artifact(name) for name in ("z", "a", "m")}
    world.ledger.commit(world.claim(parts), parts, outputs, RunFacts(seconds=1), job_id="job-1", at="mix", position=1,
                        reason="new")
    assert list(world.claim(parts).outputs.items()) == list(outputs.items())


def test_everything_about_a_run_is_kept(world: Any) -> None:
    world.job()
    parts = world.parts(weights={"net": "net"})
    facts = {"model_calls": 3, "device": "cuda:0", "dtype": "bfloat16", "peak_memory": 5_000_000_000,
             "environment": {"torch": "2.14.0"}, "notes": ("one", "two"), "task_run_id": "t1"}
    made = world.commit(world.claim(parts), parts, "lit", **facts)
    row = world.execution(made.exec_id)
    assert (row.device, row.dtype, row.peak_memory, row.task_run_id) == ("cuda:0", "bfloat16", 5_000_000_000, "t1")
    assert (row.worker, row.pass_version, row.notes) == ("here:1", 1, ["one", "two"])
    with world.database.read() as connection:
        assert connection.execute(select(environment.c.versions)).scalar_one() == {"torch": "2.14.0"}
    assert made.notes == world.claim(parts).notes == ("one", "two")
    [shown] = world.lineage.passes("job-1")
    assert (shown.weights, shown.notes) == ({"net": world.digest("net")}, ("one", "two"))


def test_while_one_computes_the_others_are_told_for_how_long(world: Any) -> None:
    world.job()
    claim = world.claim(world.parts(), lease_seconds=60)
    busy = world.claim(world.parts())
    assert isinstance(busy, Busy)
    assert busy.exec_id == claim.exec_id
    assert 58 <= busy.seconds_left <= 60
    assert isinstance(world.claim(world.parts(scale=2)), Claim)


def test_a_failed_key_may_be_claimed_again_at_once(world: Any) -> None:
    world.job()
    first = world.claim(world.parts())
    world.ledger.fail(first, "gpu-oom", "x" * 5000)
    second = world.claim(world.parts())
    assert (second.generation, second.attempt) == (1, 2)
    assert second.fence > first.fence
    row = world.execution(first.exec_id)
    assert (row.state, row.failure_class, row.failure_message) == ("failed", "gpu-oom", "x" * 2000)


def test_a_worker_that_fell_silent_is_taken_over_and_can_commit_nothing(world: Any) -> None:
    world.job()
    parts = world.parts()
    stale = world.claim(parts)
    world.expire(stale)
    fresh = world.claim(parts)
    assert (fresh.generation, fresh.attempt) == (1, 2)
    assert fresh.fence > stale.fence
    assert world.execution(stale.exec_id).failure_class == "lease_expired"
    for act in (lambda: world.commit(stale, parts, "stale"), lambda: world.ledger.renew(stale, 60)):
        with pytest.raises(FencedOff, match=stale.exec_id):
            act()
    with world.database.read() as connection:
        assert connection.execute(select(artifact.c.digest)).scalars().all() == [world.digest("photo")]
        assert connection.execute(select(job_pass)).all() == []
    made = world.commit(fresh, parts, "fresh")
    assert world.claim(parts) == made
    assert states(world, parts.key) == [(1, 1, "failed"), (1, 2, "succeeded")]


def test_who_commits_late_but_was_not_taken_over_may_commit(world: Any) -> None:
    world.job()
    parts = world.parts()
    claim = world.claim(parts)
    world.expire(claim)
    assert world.commit(claim, parts, "late").state == "succeeded"


def test_a_renewed_lease_is_not_taken_over(world: Any) -> None:
    world.job()
    claim = world.claim(world.parts())
    world.expire(claim)
    world.ledger.renew(claim, 60)
    assert isinstance(world.claim(world.parts()), Busy)


def test_a_lease_runs_at_least_as_long_as_it_says(world: Any) -> None:
    world.job()
    started = time.monotonic()
    world.claim(world.parts(), lease_seconds=1)
    while isinstance(world.claim(world.parts()), Busy):
        time.sleep(0.02)
    assert 1.0 <= time.monotonic() - started < 20


def test_failing_after_the_end_changes_nothing(world: Any) -> None:
    world.job()
    parts = world.parts()
    claim = world.claim(parts)
    made = world.commit(claim, parts, "lit")
    world.ledger.fail(claim, "bug", "too late")
    assert world.claim(parts) == made


def test_a_result_is_committed_once(world: Any) -> None:
    world.job()
    parts = world.parts()
    claim = world.claim(parts)
    world.commit(claim, parts, "lit")
    with pytest.raises(FencedOff):
        world.commit(claim, parts, "other")


def test_lost_bytes_answer_no_more_and_are_made_in_a_new_generation(world: Any) -> None:
    world.job()
    one, other = world.parts(scale=1), world.parts(scale=2)
    world.run(one, "lit")
    kept = world.run(other, "other", at="other", position=2)
    world.ledger.lose(world.digest("lit"))
    claim = world.claim(one)
    assert (claim.generation, claim.attempt) == (2, 1)
    again = world.commit(claim, one, "lit")
    assert world.claim(one) == again
    assert world.claim(other) == kept
    assert states(world, one.key) == [(1, 1, "lost"), (2, 1, "succeeded")]


def test_losing_bytes_forgets_every_execution_that_made_them(world: Any) -> None:
    world.job()
    one, other = world.parts(scale=1), world.parts(scale=2)
    world.run(one, "same")
    world.run(other, "same", at="other", position=2)
    world.ledger.lose(world.digest("same"))
    assert isinstance(world.claim(one), Claim)
    assert isinstance(world.claim(other), Claim)


def test_a_refresh_makes_a_new_generation_that_answers_from_then_on(world: Any) -> None:
    world.job("job-1")
    world.job("job-2")
    parts = world.parts()
    old = world.run(parts, "old")
    new = world.run(parts, "new", "job-2", refresh=True)
    assert (new.generation, new.job_id, new.outputs["mix"]) == (2, "job-2", world.artifact("new"))
    assert world.claim(parts) == new
    assert world.execution(old.exec_id).state == "succeeded"


def test_a_resumed_refresh_does_not_refresh_twice_and_a_job_run_again_does(world: Any) -> None:
    parts = world.parts()
    world.job("job-1")
    world.run(parts, "first")
    world.ledger.close_job("job-1", "completed")
    world.job("job-1")
    second = world.run(parts, "second", refresh=True)
    assert second.generation == 2
    world.ledger.close_job("job-1", "interrupted")
    world.job("job-1")
    assert world.run(parts, "third", refresh=True) == second
    world.ledger.close_job("job-1", "completed")
    world.job("job-1")
    assert world.run(parts, "third", refresh=True).generation == 3


def test_a_job_that_ran_before_it_asked_for_a_refresh_gets_it(world: Any) -> None:
    world.job()
    parts = world.parts()
    world.run(parts, "first")
    world.ledger.close_job("job-1", "failed", {})
    world.job()
    assert world.run(parts, "second", refresh=True).generation == 2


def test_two_jobs_that_ask_for_a_refresh_both_get_one(world: Any) -> None:
    world.job("job-1")
    world.job("job-2")
    parts = world.parts()
    assert world.run(parts, "first", "job-1", refresh=True).generation == 1
    assert world.run(parts, "second", "job-2", refresh=True).generation == 2


def test_a_refresh_of_something_new_counts_as_done(world: Any) -> None:
    world.job()
    parts = world.parts()
    made = world.run(parts, "first", refresh=True)
    assert made.generation == 1
    assert world.run(parts, "second", refresh=True) == made


def test_a_refresh_that_fails_or_runs_takes_nothing_away(world: Any) -> None:
    world.job("job-1")
    world.job("job-2")
    parts = world.parts()
    old = world.run(parts, "old")
    refreshing = world.claim(parts, "job-2", refresh=True)
    assert (refreshing.generation, world.claim(parts)) == (2, old)
    world.ledger.fail(refreshing, "gpu-oom", "no")
    assert world.claim(parts) == old
    again = world.claim(parts, "job-2", refresh=True)
    assert (again.generation, again.attempt) == (2, 2)


def test_an_older_generation_does_not_answer_for_a_lost_newer_one(world: Any) -> None:
    world.job("job-1")
    world.job("job-2")
    parts = world.parts()
    world.run(parts, "old")
    world.run(parts, "new", "job-2", refresh=True)
    world.ledger.lose(world.digest("new"))
    assert world.claim(parts).generation == 3


def test_resting_on_an_execution_leaves_a_row_however_often_it_is_told(world: Any) -> None:
    world.job("job-1")
    world.job("job-2")
    made = world.run(world.parts(), "lit")
    for _ in range(2):
        world.ledger.rest_on("job-2", "mix", 4, made, "same")
    [row] = world.lineage.passes("job-2")
    assert (row.disposition, row.position, row.exec_id, row.made_by_job) == ("reused", 4, made.exec_id, "job-1")


def test_a_resumed_job_stays_the_one_that_executed(world: Any) -> None:
    world.job()
    made = world.run(world.parts(), "lit")
    world.ledger.rest_on("job-1", "mix", 3, made, "same")
    [row] = world.lineage.passes("job-1")
    assert (row.disposition, row.reason, row.position) == ("executed", "new", 3)


def test_the_same_execution_at_another_place_of_the_job_is_reused_there(world: Any) -> None:
    world.job()
    made = world.run(world.parts(), "lit")
    world.ledger.rest_on("job-1", "second", 2, made, "same")
    assert [(row.at, row.disposition) for row in world.lineage.passes("job-1")] == [
        ("mix", "executed"), ("second", "reused")]


def test_a_job_that_comes_to_rest_on_another_execution_says_so(world: Any) -> None:
    world.job("job-1")
    world.job("job-2")
    world.run(world.parts(), "lit")
    newer = world.run(world.parts(), "newer", "job-2", refresh=True)
    world.ledger.rest_on("job-1", "mix", 1, newer, "same")
    [row] = world.lineage.passes("job-1")
    assert (row.disposition, row.exec_id) == ("reused", newer.exec_id)


def test_a_skipped_pass_is_a_row_with_its_reason(world: Any) -> None:
    world.job()
    for _ in range(2):
        world.ledger.skip("job-1", "second", 7, "sdxl", "skip_second_pass is set")
    [row] = world.lineage.passes("job-1")
    assert (row.at, row.position, row.pass_name, row.disposition, row.reason) == (
        "second", 7, "sdxl", "skipped", "skip_second_pass is set")
    assert (row.key, row.exec_id, row.outputs, row.seconds) == (None, None, {}, 0.0)


def test_a_killed_worker_is_healed_by_the_next(world: Any) -> None:
    world.job()
    parts = world.parts()
    killed = subprocess.run([sys.executable, "-c", f"""
import os, signal
from storage.database import open_database
from storage.ledger import Ledger
from storage.records import KeyParts
Ledger(open_database({world.url!r})).claim({parts!r}, job_id="job-1", worker="w", lease_seconds=1)
os.kill(os.getpid(), signal.SIGKILL)
"""], check=False)
    assert killed.returncode == -9
    assert isinstance(world.claim(parts), Busy)
    while isinstance(answer := world.claim(parts), Busy):
        time.sleep(0.05)
    world.commit(answer, parts, "lit")
    assert states(world, parts.key) == [(1, 1, "failed"), (1, 2, "succeeded")]
