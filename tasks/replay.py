"""Make a job's passes again from what is recorded of them, and compare; nothing is written but what --keep asks for.

Each place is replayed on its *recorded* inputs, so that one pass whose pixels moved does not blame those after it.
Reuse is not asked for, nothing is claimed, stored or recorded, and damaged bytes stay where they lie.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from models.difference import Difference, difference
from models.params import PassParams
from models.passes import PassContext
from models.pictures import Picture, decode_png, encode_png
from storage.answers import Change, Recorded
from storage.digests import sha256_hex
from storage.errors import ArtifactCorrupt, ArtifactMissing
from storage.records import Artifact, Job
from tasks.classify import error_facts
from tasks.ladder import out_of_memory
from tasks.replay_changes import environment_changes, key_changes, key_now, unexplained
from tasks.requests import JobRef, PassRequest
from tasks.services import Services
from tasks.work import Work, prepare, resolve_function

__all__ = ["NOTHING", "Difference", "Pictures", "Place", "Replay", "Replayed", "Verdict"]

Verdict = Literal["bit-equal", "differs", "failed", "not replayed", "skipped", "not reached"]
"""failed: the pass raised; not replayed: it could not be tried; not reached: the job has no result there."""

NOTHING = Artifact(digest="", media_type="", bytes=0, width=0, height=0)
"""What stands for a picture that the job never made."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A place of the job's order. params: what the pass would be given now, None where it would not be run, for
    `reason`; given: its inputs by today's order, NOTHING where the job never made one; recorded: None where the job
    has no row there."""

    at: str
    pass_name: str
    params: PassParams | None
    given: Mapping[str, Artifact] = field(default_factory=dict)
    reason: str = ""
    recorded: Recorded | None = None


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """What a place gave then (None: its bytes are gone) and now."""

    recorded: Picture | None
    replayed: Picture


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """What came of one place. version, key, digest: recorded and now, each None where unknown. changes: what is
    otherwise than recorded, in the key ("params.steps") or around it ("device", "environment.torch"). said: what else
    there is to tell, in clauses. seconds: of this replay. pictures: where they differ."""

    place: Place
    verdict: Verdict
    version: tuple[int | None, int | None] = (None, None)
    key: tuple[str | None, str | None] = (None, None)
    digest: tuple[str | None, str | None] = (None, None)
    difference: Difference | None = None
    changes: tuple[Change, ...] = ()
    said: tuple[str, ...] = ()
    seconds: float = 0.0
    error: Mapping[str, Any] | None = None
    pictures: Pictures | None = None

    @property
    def tried(self) -> bool:
        """Is there a result that this replay had to meet?"""
        return self.verdict not in ("skipped", "not reached")

    def without_pictures(self) -> Replayed:
        """The same, small enough to keep many of."""
        return replace(self, pictures=None)


class Replay:
    """One replay of one job, place by place in its order. anyway: also of results of another version of their pass."""

    def __init__(self, here: Services, job: Job, *, anyway: bool = False) -> None:
        self._here = here
        self._ref = JobRef(job_id=job.job_id, pipeline=job.pipeline, profile=job.profile)
        self._anyway = anyway
        self._remade: dict[str, tuple[bytes, bool]] = {}  # recorded digest -> what came now; is it equal

    def place(self, place: Place, on_step: Callable[[int, int], None] = lambda done, total: None) -> Replayed:
        """Replay one place. What goes wrong there is its verdict; only a store or a database that is away rises."""
        if place.recorded is None:
            return Replayed(place=place, verdict="not reached")
        row = place.recorded.row
        known: dict[str, Any] = {"place": place, "key": (row.key, None), "version": (place.recorded.pass_version, None)}
        if row.exec_id is None:
            if place.params is None:
                return Replayed(**known, verdict="skipped", said=(row.reason,))
            return Replayed(**known, verdict="not replayed", said=(
                f"it was left out then ({row.reason}), and the pipeline would run it now",))
        known["digest"] = (_output(place.recorded).digest, None)
        if place.params is None:
            return Replayed(**known, verdict="not replayed", said=(f"the pipeline leaves it out now: {place.reason}",))
        try:
            work = prepare(self._here, PassRequest(
                job=self._ref, at=place.at, position=row.position, pass_name=place.pass_name, params=place.params,
                inputs=place.recorded.inputs))
        except Exception as error:  # weights that are not here, roles that the pass does not take any more
            return Replayed(**known, verdict="not replayed", said=(str(error),), error=error_facts(error))
        known |= {"version": (place.recorded.pass_version, work.spec.version),
                  "key": (row.key, key_now(work, place.given)),
                  "changes": key_changes(place.recorded, work, place.given)}
        return self._run(work, place.recorded, on_step, known)

    def _run(self, work: Work, recorded: Recorded, on_step: Callable[[int, int], None], known: dict[str, Any],
             ) -> Replayed:
        said = [*_of_the_key(known)]
        then, now = known["version"]
        if recorded.row.pass_name != work.spec.name or (then != now and not self._anyway):
            made_by = f"version {then} of {recorded.row.pass_name}"
            return Replayed(**known, verdict="not replayed", said=(
                f"it was made by {made_by}, this code has version {now} of {work.spec.name}; the Backlot that made it "
                f"({recorded.environment.get('backlot', 'unknown')}) can replay it, --anyway does so with this one",))
        try:
            inputs = {role: self._input(role, artifact, said) for role, artifact in work.request.inputs.items()}
        except (ArtifactMissing, ArtifactCorrupt) as error:
            return Replayed(**known, verdict="not replayed", said=(*said, str(error)), error=error_facts(error))
        started = time.monotonic()
        try:
            with self._here.zoo.lease(work.models) as models:
                context = PassContext(models=models, on_step=on_step)
                picture = resolve_function(work.spec.function)(work.request.params, context, **inputs)
        except Exception as error:
            if out_of_memory(error):
                self._here.zoo.free()  # the places that follow shall not fail of this one
            return Replayed(**known, verdict="failed", seconds=time.monotonic() - started, error=error_facts(error),
                            said=(*said, f"{type(error).__name__}: {error}"))
        known["seconds"] = time.monotonic() - started
        known["changes"] = (*known["changes"], *environment_changes(recorded, work, context, self._here.zoo))
        return self._compared(recorded, picture, said, known)

    def _input(self, role: str, artifact: Artifact, said: list[str]) -> Picture:
        """A fresh copy of a recorded input, or what this replay made in its place where its bytes are gone."""
        try:
            return decode_png(self._here.store.look(artifact.digest)).copy()
        except (ArtifactMissing, ArtifactCorrupt):
            if artifact.digest not in self._remade:
                raise
        data, equal = self._remade[artifact.digest]
        said.append(f"the recorded bytes of its input {role} are lost; this replay made them again, bit-equal" if equal
                    else f"it rests on a remade input: the recorded bytes of {role} are lost, and what this replay "
                         "made in their place is not equal to them")
        return decode_png(data).copy()

    def _compared(self, recorded: Recorded, picture: Picture, said: list[str], known: dict[str, Any]) -> Replayed:
        wanted = _output(recorded).digest
        data = encode_png(picture)
        known["digest"] = (wanted, sha256_hex(data))
        then = None
        try:
            then = picture if known["digest"][1] == wanted else decode_png(self._here.store.look(wanted))
        except (ArtifactMissing, ArtifactCorrupt):
            said.append("the recorded picture's bytes are lost, so how far it is off cannot be measured")
        equal = then is not None and np.array_equal(then, picture)
        self._remade[wanted] = (data, equal)
        if equal:
            if known["digest"][1] != wanted:
                said.append("the same pixels, written as other bytes: the PNG encoder is another")
            return Replayed(**known, verdict="bit-equal", said=tuple(said))
        if not known["changes"]:
            said.append(unexplained(recorded, self._here.zoo))
        apart = None
        if then is not None and then.shape == picture.shape:
            apart = difference(then, picture)
        elif then is not None:
            said.append(f"its shape was {_shape(then)} and is {_shape(picture)} (width x height x channels)")
        return Replayed(**known, verdict="differs", difference=apart, said=tuple(said),
                        pictures=Pictures(recorded=then, replayed=picture))


def _output(recorded: Recorded) -> Artifact:
    """The picture that the place gave; a pass has one."""
    return next(iter(recorded.row.outputs.values()))


def _of_the_key(known: Mapping[str, Any]) -> list[str]:
    """Word of a key that is computed otherwise although neither the pass's version nor its weights changed."""
    (then, now), (before, after) = known["version"], known["key"]
    if then != now or before == after or any(change.part.startswith("weights.") for change in known["changes"]):
        return []
    return ["its key is computed otherwise now, so no job would reuse this result"]


def _shape(picture: Picture) -> str:
    height, width, channels = picture.shape
    return f"{width} x {height} x {channels}"
