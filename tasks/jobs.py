"""What a job does beside its passes: open, ingest and publish (Prefect tasks without a pass key), skip and close."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from prefect import Task, task

from models.licences import check_production
from models.params import PassParams
from models.passes import PASSES
from models.photos import READER
from storage.jobs import Closing
from storage.records import Artifact, KnownPhoto, NewJob
from storage.redaction import redacted
from storage.sources import read_source
from tasks.classify import classify, error_facts
from tasks.deliver import deliver, withdraw
from tasks.judge import judge as judged
from tasks.masks import mask_for
from tasks.passes import RETRIED
from tasks.progress import JobOpened, PassEnded, Warned, tell
from tasks.requests import JobRef
from tasks.run_pass import put_picture
from tasks.services import services
from tasks.work import weights_for

P = ParamSpec("P")
R = TypeVar("R")


def _step(name: str) -> Callable[[Callable[P, R]], Task[P, R]]:
    """A Prefect task with the retries of a pass; like them called directly."""
    return task(name=name, task_run_name=name + " of {job.job_id}", **RETRIED)


def check_weights(profile: str, chosen: Mapping[str, PassParams]) -> None:
    """Refuse a profile whose files are missing, or in production not licensed, before anything is made. Reads no
    weights. Raises WeightsError.

    chosen: pass name -> parameters by which it works as the house chose, which may need weights of their own.
    """
    here = services()
    models = here.pinned(profile)
    if here.settings.production:
        check_production((file for model in models.values() for file in model.spec.files),
                         here.settings.licences_held)
    for name, params in chosen.items():
        weights_for(here, profile, PASSES[name], params, PASSES[name].roles)


@_step("open")
def open_job(job: JobRef, requested: dict[str, Any], resolved: dict[str, Any], schema_version: int) -> dict[str, Any]:
    """Store both documents under the job's id and return the resolved one to run: an earlier run's, on a resume."""
    here = services()
    resumed = here.lineage.has_job(job.job_id)
    opened = here.ledger.open_job(NewJob(
        job_id=job.job_id, pipeline=job.pipeline, profile=job.profile, requested=requested, resolved=resolved,
        schema_version=schema_version, flow_run_id=job.flow_run_id))
    tell(JobOpened(job_id=job.job_id, pipeline=job.pipeline, profile=job.profile, resumed=resumed))
    return dict(opened.resolved)


@_step("ingest")
def ingest(job: JobRef, image: str) -> Artifact:
    """Read the photo the document names, normalise it to 8-bit sRGB, upright, and store it.

    First both stores are asked for: one that is not there would otherwise cost what was computed before it was missed.
    A file whose bytes were read before by this decoder is not decoded again.
    """
    here = services()
    for text in here.shortcomings:
        tell(Warned(job_id=job.job_id, text=text))
    source = read_source(image, settings=here.settings)
    known = here.ledger.known_source(source.digest, READER)
    if known is None or not here.intact({"photo": known.artifact}):
        photo = here.gate.decode(source.data, name=redacted(image))
        known = KnownPhoto(artifact=put_picture(here, photo.picture), notes=photo.warnings)
    for text in known.notes:
        tell(Warned(job_id=job.job_id, text=f"image: {text}"))
    here.ledger.observe_source(job.job_id, source.uri, source.version, source.size, source.mtime, source.digest,
                               known.artifact, READER, known.notes)
    return known.artifact


def mask_of(photo: Artifact) -> Artifact | None:
    """The mask that a person set for this photo: like the photo itself, it is read anew whenever the job runs."""
    return mask_for(services(), photo)


@_step("judge")
def judge(job: JobRef, placed: Artifact, picture: Artifact) -> bool:
    """Measure the final picture against its placed product; whether it may be delivered."""
    return judged(services(), job, placed, picture)


@_step("publish")
def publish(job: JobRef, role: str, artifact: Artifact, facts: dict[str, str]) -> str:
    """Deliver a picture, stamped with the job's facts; its uri."""
    return deliver(services(), job, role, artifact, facts)


@_step("withdraw")
def hold_back(job: JobRef, role: str, artifact: Artifact) -> None:
    """Do not deliver a picture, and take it back where it was."""
    withdraw(services(), job, role, artifact)


def skip(job: JobRef, at: str, position: int, pass_name: str, reason: str) -> None:
    """Record that the job goes without a pass, and why. A row, never a task run."""
    services().ledger.skip(job.job_id, at, position, pass_name, reason)
    tell(PassEnded(job_id=job.job_id, at=at, pass_name=pass_name, disposition="skipped", seconds=0.0, model_calls=0,
                   reason=reason))


def close(job: JobRef, error: BaseException | None = None, *, delivered: bool = True) -> None:
    """End the job's row: completed, needs_review (made and not delivered), interrupted (Ctrl-C, cancellation: it can be
    resumed) or failed with its reason.

    Where another run of the same job has followed, only a success is told.
    """
    state: Closing = "completed" if delivered else "needs_review"
    if error is not None:
        state = "interrupted" if classify(error).kind == "cancelled" else "failed"
    facts = None if error is None else error_facts(error)
    services().ledger.close_job(job.job_id, state, facts, flow_run_id=job.flow_run_id)
