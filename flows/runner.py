"""How a pipeline's order is told: a flow names passes and what goes into them; a `Runner` decides what that does.

`JobRunner` runs them as Prefect tasks. Anything else that answers the same three calls can walk a pipeline too: the
tests compute every key with one that runs nothing.
"""

from __future__ import annotations

from typing import Protocol

from models.params import PassParams
from storage.records import Artifact
from tasks import jobs, passes
from tasks.requests import JobRef, PassRequest


class Runner(Protocol):
    def run(self, pass_name: str, params: PassParams, *, at: str | None = None, **inputs: Artifact | None) -> Artifact:
        """Run a pass; `at` is its name within the job (default: the pass's own). Roles given as None are left out."""
        ...

    def skip(self, pass_name: str, reason: str, *, at: str | None = None) -> None:
        """Say that a pass is left out, and why."""
        ...

    def mask(self, photo: Artifact) -> Artifact | None:
        """The mask that a person set for this photo; None where it is to be matted."""
        ...


class JobRunner:
    """Each pass as its Prefect task, called directly, one at a time; positions count what the job rests on.

    With `debug`, every picture is delivered as soon as it is ready. made: what each place of the job gave.
    """

    def __init__(self, job: JobRef, *, debug: bool, facts: dict[str, str]) -> None:
        self._job = job
        self._debug = debug
        self._facts = facts
        self._position = 0
        self.uris: list[str] = []
        self.made: dict[str, Artifact] = {}

    def run(self, pass_name: str, params: PassParams, *, at: str | None = None, **inputs: Artifact | None) -> Artifact:
        given = {role: artifact for role, artifact in inputs.items() if artifact is not None}
        artifact = passes.call(PassRequest(job=self._job, at=at or pass_name, position=self._next(),
                                           pass_name=pass_name, params=params, inputs=given))
        self.made[at or pass_name] = artifact
        if self._debug:
            self.deliver(at or pass_name, artifact)
        return artifact

    def skip(self, pass_name: str, reason: str, *, at: str | None = None) -> None:
        jobs.skip(self._job, at or pass_name, self._next(), pass_name, reason)

    def mask(self, photo: Artifact) -> Artifact | None:
        return jobs.mask_of(photo)

    def deliver(self, role: str, artifact: Artifact) -> None:
        self.uris.append(jobs.publish(self._job, role, artifact, self._facts))

    def _next(self) -> int:
        self._position += 1
        return self._position
