"""The constraints themselves: what must never be stored, tried with plain SQL past all of the code above them."""

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

KEY = "a" * 64
RUNNING = {"exec_id": "e1", "key": KEY, "generation": 1, "attempt": 1, "pass_name": "mix", "pass_version": 1,
           "job_id": "job-1", "worker": "w", "state": "running", "lease_until": 5, "started_at": 1}
ENDED = {"lease_until": None, "ended_at": 2}
SUCCEEDED = {**RUNNING, **ENDED, "state": "succeeded", "seconds": 1.0, "model_calls": 0, "device": "cpu",
             "dtype": "float32", "env_id": KEY}
FAILED = {**RUNNING, **ENDED, "state": "failed", "failure_class": "bug"}
JOB = {"job_id": "job-2", "pipeline": "p", "profile": "tiny", "requested": "{}", "resolved": "{}", "schema_version": 1,
       "round": 1, "state": "running", "created_at": 1}
DECIDED = {"job_id": "job-1", "at": "mix", "position": 1, "pass_name": "mix", "reason": "", "decided_at": 1}
ARTIFACT = {"digest": KEY, "media_type": "image/png", "bytes": 1, "width": 1, "height": 1, "created_at": 1}


def insert(world: Any, table: str, row: dict[str, object]) -> None:
    with world.database.write() as connection:
        connection.execute(text(f"INSERT INTO {table} ({', '.join(row)}) VALUES (:{', :'.join(row)})"), row)


@pytest.fixture
def plain(world: Any) -> Any:
    """One job and one environment to refer to."""
    world.ledger.open_job(world.new_job("job-1"))
    insert(world, "environment", {"env_id": KEY, "versions": "{}", "created_at": 1})
    return world


@pytest.mark.parametrize("first", [SUCCEEDED, FAILED, {**SUCCEEDED, "state": "lost"}])
def test_after_an_execution_that_ended_the_next_may_run(plain: Any, first: dict[str, object]) -> None:
    insert(plain, "pass_execution", first)
    insert(plain, "pass_execution", {**RUNNING, "exec_id": "e2", "attempt": 2})


def test_two_generations_may_both_have_succeeded(plain: Any) -> None:
    insert(plain, "pass_execution", SUCCEEDED)
    insert(plain, "pass_execution", {**SUCCEEDED, "exec_id": "e2", "generation": 2})


@pytest.mark.parametrize(("first", "second"), [
    (RUNNING, {**RUNNING, "attempt": 2}), (RUNNING, {**RUNNING, "generation": 2}),
    (SUCCEEDED, {**SUCCEEDED, "attempt": 2}), (FAILED, FAILED)],
    ids=["two running", "two running in two generations", "two successes", "the same attempt twice"])
def test_two_that_exclude_each_other_cannot_both_be_stored(
        plain: Any, first: dict[str, object], second: dict[str, object]) -> None:
    insert(plain, "pass_execution", first)
    with pytest.raises(IntegrityError, match=r"(?i)unique"):
        insert(plain, "pass_execution", {**second, "exec_id": "e2"})


@pytest.mark.parametrize(("table", "row"), [
    ("pass_execution", {**RUNNING, "state": "asleep"}), ("pass_execution", {**RUNNING, "lease_until": None}),
    ("pass_execution", {**RUNNING, "ended_at": 2}), ("pass_execution", {**SUCCEEDED, "lease_until": 5}),
    ("pass_execution", {**SUCCEEDED, "ended_at": None}), ("pass_execution", {**FAILED, "failure_class": None}),
    ("pass_execution", {**SUCCEEDED, "failure_class": "bug"}), ("pass_execution", {**SUCCEEDED, "seconds": None}),
    ("pass_execution", {**SUCCEEDED, "env_id": None}), ("pass_execution", {**RUNNING, "key": "short"}),
    ("pass_execution", {**SUCCEEDED, "state": "lost", "device": None}),
    ("pass_execution", {**RUNNING, "generation": 0}), ("pass_execution", {**RUNNING, "attempt": 0}),
    ("job", {**JOB, "state": "done"}), ("job", {**JOB, "finished_at": 2}), ("job", {**JOB, "state": "completed"}),
    ("job", {**JOB, "error": "{}"}), ("job", {**JOB, "state": "completed", "finished_at": 2, "error": "{}"}),
    ("job_pass", {**DECIDED, "disposition": "joined", "exec_id": "e0"}),
    ("job_pass", {**DECIDED, "disposition": "reused"}),
    ("job_pass", {**DECIDED, "disposition": "skipped", "exec_id": "e0"}),
    ("artifact", {**ARTIFACT, "digest": "abc"}), ("artifact", {**ARTIFACT, "bytes": 0}),
    ("artifact", {**ARTIFACT, "width": 0}),
    ("model_file", {"model_digest": KEY, "repo": "r", "path": "p", "sha256": KEY, "bytes": 1, "licence": "l",
                    "commercial_use": "maybe"}),
], ids=str)
def test_a_row_that_contradicts_itself_is_refused(plain: Any, table: str, row: dict[str, object]) -> None:
    insert(plain, "pass_execution", {**FAILED, "exec_id": "e0", "attempt": 9})
    with pytest.raises(IntegrityError, match=r"(?i)check"):
        insert(plain, table, row)


@pytest.mark.parametrize(("table", "row"), [
    ("pass_execution", {**RUNNING, "job_id": "job-9"}), ("pass_execution", {**SUCCEEDED, "env_id": "b" * 64}),
    ("job_pass", {**DECIDED, "disposition": "reused", "exec_id": "e9"}),
    ("pass_input", {"exec_id": "e0", "role": "r", "digest": KEY}),
    ("pass_output", {"exec_id": "e0", "role": "r", "ordinal": 0, "digest": KEY}),
    ("pass_model", {"exec_id": "e9", "role": "r", "model_digest": KEY}),
    ("job_output", {"job_id": "job-1", "role": "r", "digest": KEY, "uri": "u", "published_at": 1}),
    ("source_observation", {"job_id": "job-1", "uri": "u", "version": "v", "size": 1, "source_digest": KEY,
                            "reader": "r", "digest": KEY, "observed_at": 1}),
])
def test_a_row_that_refers_to_nothing_is_refused(plain: Any, table: str, row: dict[str, object]) -> None:
    insert(plain, "pass_execution", {**FAILED, "exec_id": "e0", "attempt": 9})
    with pytest.raises(IntegrityError, match=r"(?i)foreign key"):
        insert(plain, table, row)


def test_a_fence_is_never_given_twice(plain: Any) -> None:
    insert(plain, "pass_execution", FAILED)
    with plain.database.write() as connection:
        connection.execute(text("DELETE FROM pass_execution"))
    insert(plain, "pass_execution", RUNNING)
    with plain.database.read() as connection:
        assert connection.execute(text("SELECT fence FROM pass_execution")).scalar() == 2
