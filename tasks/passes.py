"""One Prefect task a pass. Prefect shows and retries; reuse is decided by lineage, so its own cache is off.

A reused pass ends in Prefect's state `Cached`, whose message names the job the result came from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.states import Completed
from prefect.tasks import exponential_backoff

from models.passes import PASSES
from storage.records import Artifact
from tasks.classify import classify
from tasks.requests import PassRequest
from tasks.run_pass import run_pass
from tasks.services import services

MOST_RETRIES = 3  # what the most patient class asks for; may_retry ends the others sooner
FIRST_DELAY_SECONDS = 0.2


def may_retry(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Prefect's question after a failure, answered by the one classifier."""
    return isinstance(state.data, BaseException) and run.run_count < classify(state.data).tries


RETRIED: Mapping[str, Any] = {
    "cache_policy": NO_CACHE, "persist_result": False, "retries": MOST_RETRIES,
    "retry_delay_seconds": exponential_backoff(FIRST_DELAY_SECONDS), "retry_jitter_factor": 0.5,
    "retry_condition_fn": may_retry}
"""How every task of ours is run by Prefect: its cache off, its retries decided by our classifier."""


def _pass_task(name: str) -> Task[..., Any]:
    @task(name=name, task_run_name="{request.at} of {request.job.job_id}", **RETRIED)
    def run(request: PassRequest) -> Artifact | State[Artifact]:
        result = run_pass(services(), [request])[0].value()
        if result.disposition == "executed":
            return result.artifact
        return Completed(name="Cached", data=result.artifact, message=f"reused from job {result.made_by}")

    return run


TASKS: Mapping[str, Task[..., Any]] = {name: _pass_task(name) for name in PASSES}


def call(request: PassRequest) -> Artifact:
    """Run one pass as its Prefect task, on this thread, and return what the job rests on now."""
    ended: Any = TASKS[request.pass_name](request)
    return cast(Artifact, ended.result() if isinstance(ended, State) else ended)
