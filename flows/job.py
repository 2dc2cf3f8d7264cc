"""What every pipeline's job has in common: resolve once, open, ingest, walk the order, deliver, close."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Literal, TypeVar

from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed
from pydantic import BaseModel

from flows.documents import refused
from flows.methods import chosen
from flows.pipelines import PIPELINES
from flows.runner import JobRunner, Runner
from storage.errors import ArtifactCorrupt, ArtifactMissing
from storage.records import Artifact
from tasks import jobs
from tasks.deliver import facts
from tasks.door import check_image
from tasks.profiles import has_real_matting, min_side
from tasks.requests import JobRef, pass_names
from tasks.services import services

ProfileName = Literal["tiny", "sdxl", "sdxl-union"]

HEALING_ROUNDS = 3
"""How often a job starts over because stored bytes vanished under it; each round reuses all that is still whole."""

NOT_DELIVERED = "the product in the picture is not the product any more; `backlot show {}` says where"

R = TypeVar("R", bound=BaseModel)
W = TypeVar("W")
log = logging.getLogger(__name__)


def flow_run_name() -> str:
    """The run's name in Prefect: the job's id where one was given."""
    asked = flow_run.get_parameters().get("params")
    return getattr(asked, "job_id", None) or flow_run.get_flow_name() or "job"


def run_job(*, pipeline: str, requested: Any, profile: str, refresh: tuple[str, ...], schema_version: int,
            resolve: Callable[..., R], resolved_kind: type[R],
            order: Callable[[R, str, Artifact, Runner], Artifact]) -> list[str] | State[list[str]]:
    """Run one job of any pipeline and return the uris delivered, the final picture last.

    The job's row is closed whatever happens: completed, needs_review where the product in the picture is not the
    product any more (then nothing but debug pictures is delivered, and Prefect shows the state `NeedsReview`), failed
    with its reason, or interrupted and resumable.
    """
    known = (*pass_names(), *PIPELINES[pipeline].places)
    for name in refresh:
        if name not in known:
            raise refused("refresh", name, "is not a pass", f"Allowed: {', '.join(known)}")
    check_image(requested.image)
    methods = chosen(services().settings, real_matting=has_real_matting(profile))
    jobs.check_weights(profile, methods.may_need_weights())
    resolved = resolve(requested, min_side=min_side(profile), methods=methods)
    run_id = flow_run.get_id()
    job = JobRef(job_id=requested.job_id or f"job-{run_id}", pipeline=pipeline, profile=profile, flow_run_id=run_id,
                 refresh=refresh)
    stored = jobs.open_job(job, requested.model_dump(mode="json"), resolved.model_dump(mode="json"), schema_version)
    resolved = resolved_kind.model_validate(stored)
    try:
        uris, delivered = _heal(lambda: _walk(job, resolved, order))
    except BaseException as error:
        _close_failed(job, error)
        raise
    jobs.close(job, delivered=delivered)
    return uris if delivered else Completed(name="NeedsReview", data=uris, message=NOT_DELIVERED.format(job.job_id))


def _close_failed(job: JobRef, error: BaseException) -> None:
    """Tell the row why the job ended. Where that fails too (the disk is full), the first error is the one to see."""
    try:
        jobs.close(job, error)
    except Exception:
        log.warning("could not record how the job %s ended", job.job_id, exc_info=True)


def _walk(job: JobRef, resolved: Any, order: Callable[[Any, str, Artifact, Runner], Artifact],
          ) -> tuple[list[str], bool]:
    """The uris delivered, and whether the final picture is among them."""
    runner = JobRunner(job, debug=resolved.document.debug_mode, facts=facts(job.profile, resolved.document.seed))
    photo = jobs.ingest(job, resolved.document.image)
    if resolved.document.debug_mode:
        runner.deliver("photo", photo)
    final = order(resolved, job.profile, photo, runner)
    # Against the product in the picture's own size: at a quarter of it a garbled line of small print is not seen. A
    # pipeline that places no product has nothing to measure against.
    placed = runner.made.get("placed_large") or runner.made.get("place")
    delivered = placed is None or jobs.judge(job, placed, final)
    if delivered:
        runner.deliver("final", final)
    else:
        jobs.hold_back(job, "final", final)
    return runner.uris, delivered


def _heal(walk: Callable[[], W]) -> W:
    """Walk again when a picture that a pass counted on is gone: what is lost is made anew, the rest reused."""
    for _ in range(HEALING_ROUNDS - 1):
        try:
            return walk()
        except (ArtifactMissing, ArtifactCorrupt):
            continue
    return walk()
