"""A job's places as its pipeline's order walks them today, each beside what is recorded there. Runs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from flows.documents import refused
from flows.pipelines import pipeline
from models.params import PassParams
from storage.lineage import Lineage, Recorded
from storage.records import Artifact, Job
from tasks.replay import NOTHING, Place


class Planner:
    """A Runner that gives each pass what was recorded at its place, and notes what it was asked."""

    def __init__(self, recorded: Sequence[Recorded]) -> None:
        self._recorded = {one.row.at: one for one in recorded}
        self.places: list[Place] = []

    def run(self, pass_name: str, params: PassParams, *, at: str | None = None, **inputs: Artifact | None) -> Artifact:
        given = {role: artifact for role, artifact in inputs.items() if artifact is not None}
        found = self._recorded.get(at or pass_name)
        self.places.append(Place(at=at or pass_name, pass_name=pass_name, params=params, given=given, recorded=found))
        return next(iter(found.row.outputs.values()), NOTHING) if found else NOTHING

    def mask(self, photo: Artifact) -> Artifact | None:
        """The one it was made with, whatever counts for the photo now."""
        return next((one.inputs["mask"] for one in self._recorded.values() if "mask" in one.inputs), None)

    def skip(self, pass_name: str, reason: str, *, at: str | None = None) -> None:
        at = at or pass_name
        self.places.append(Place(at=at, pass_name=pass_name, params=None, reason=reason,
                                 recorded=self._recorded.get(at)))


def plan(lineage: Lineage, job: Job) -> list[Place]:
    """Every place of the job: those of the order in its order, then recorded ones that the order has no more.

    Raises DocumentError where this version cannot read the stored document or has no such pipeline any more.
    """
    order, resolved_kind = pipeline(job.pipeline).load_order()
    try:
        resolved = resolved_kind.model_validate(dict(job.resolved))
    except ValidationError as error:
        raise refused("JOB", job.job_id, f"its stored document (schema version {job.schema_version}) cannot be read: "
                      f"{_first(error)}", "Replay it with the version of Backlot that ran it") from None
    recorded = lineage.recorded(job.job_id)
    planner = Planner(recorded)
    order(resolved, job.profile, _photo(lineage, job, recorded), planner)
    walked = {place.at for place in planner.places}
    gone = [Place(at=one.row.at, pass_name=one.row.pass_name, params=None, reason="it has no such place any more",
                  recorded=one) for one in recorded if one.row.at not in walked]
    return [*planner.places, *gone]


def _photo(lineage: Lineage, job: Job, recorded: Sequence[Recorded]) -> Artifact:
    """The ingested photo: the one that the job's passes read, else the one it read last."""
    read = [one.inputs["photo"] for one in recorded if "photo" in one.inputs]
    seen = [source.artifact for source in lineage.sources(job.job_id)]
    return next(iter([*read, *reversed(seen)]), NOTHING)


def _first(error: ValidationError) -> str:
    first: Any = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
