"""Delivering a picture: a published copy stamped with its job's facts, and the row that says where it lies."""

from __future__ import annotations

from importlib.metadata import version

from models.pictures import with_png_text
from storage.records import Artifact
from tasks.profiles import notice
from tasks.progress import Published, Warned, tell
from tasks.requests import JobRef
from tasks.services import Services


def facts(profile: str, seed: int) -> dict[str, str]:
    """What is stamped beside the job's name: how to make it again, and what must be said of its weights."""
    stamped = {"backlot:seed": str(seed)}
    if warning := notice(profile):
        stamped["backlot:notice"] = warning
    return stamped


def deliver(here: Services, job: JobRef, role: str, artifact: Artifact, facts: dict[str, str]) -> str:
    """The uri. The stored pixels as they are, with nothing of the input's metadata. The same again changes nothing."""
    stamp = {"Software": f"Backlot {version('backlot')}", "backlot:job_id": job.job_id, "backlot:role": role,
             "backlot:pipeline": job.pipeline, "backlot:profile": job.profile, "backlot:artifact": artifact.digest,
             **facts}
    uri = here.outputs.put(job.job_id, f"{role}.png", with_png_text(here.store.get(artifact.digest), stamp))
    here.ledger.record_output(job.job_id, role, artifact, uri)
    tell(Published(job_id=job.job_id, role=role, uri=uri))
    return uri


def withdraw(here: Services, job: JobRef, role: str, artifact: Artifact) -> None:
    """Take back a delivery of this very picture, which may not be delivered any more. Another one of the role stays.

    The row goes first: a row without its file is a fault, and a repair would deliver the picture again.
    """
    if here.ledger.withdraw_output(job.job_id, role, artifact):
        here.outputs.remove(job.job_id, f"{role}.png")
    else:
        tell(Warned(job_id=job.job_id, text="the picture that was delivered before this one stays delivered"))
