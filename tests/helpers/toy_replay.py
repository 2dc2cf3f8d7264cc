"""A job of toy passes (arithmetic on small arrays) to be replayed, with a real store and a real SQLite file.

A file that wants the fixture `here` says pytest_plugins = ["toy_replay"].
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest
from sqlalchemy import select

from flows.replay_plan import Planner
from flows.runner import Runner
from models.params import PassParams
from models.passes import PassContext, PassSpec
from models.pictures import Picture
from models.zoo import Zoo
from storage.records import Artifact, NewJob
from storage.settings import Settings
from storage.tables import metadata
from tasks import work
from tasks.replay import Replay, Replayed
from tasks.requests import JobRef, PassRequest
from tasks.run_pass import put_picture, run_pass
from tasks.services import Services


class AddParams(PassParams):
    own = ("amount",)
    amount: int = 1
    added: int = 0
    added_later: ClassVar = {"added": 0}


class Toy:
    """off: what `add` adds too much; batched: what a batch adds too much; raised: what it dies of; note: what it says.
    """

    off: Callable[[Picture], Any]
    batched: int
    raised: Exception | None
    notes: tuple[str, ...]


def add_all(params: Sequence[AddParams], context: PassContext, pictures: Sequence[Mapping[str, Picture]],
            ) -> list[Picture]:
    return [add(one, context, photo=given["photo"]) + np.uint8(Toy.batched)
            for one, given in zip(params, pictures, strict=True)]


def add(params: AddParams, context: PassContext, *, photo: Picture) -> Picture:
    if Toy.raised:
        raise Toy.raised
    context.called(1)
    context.notes.extend(Toy.notes)
    return np.asarray(photo + params.amount + Toy.off(photo), dtype=np.uint8)


def double(params: AddParams, context: PassContext, *, photo: Picture) -> Picture:
    return np.asarray(photo * 2, dtype=np.uint8)


def weighed(params: AddParams, context: PassContext, *, photo: Picture) -> Picture:
    return np.asarray(photo + len(context.models["scale"]), dtype=np.uint8)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    toys = ModuleType("backlot_replays")
    for function in (add, add_all, double, weighed):
        setattr(toys, function.__name__, function)
    monkeypatch.setitem(sys.modules, "backlot_replays", toys)
    spec: dict[str, Any] = {"version": 1, "params": AddParams, "roles": ("photo",), "output": "sum"}
    monkeypatch.setattr(work, "PASSES", {
        "add": PassSpec(name="add", function="backlot_replays:add", batch="backlot_replays:add_all", **spec),
        "double": PassSpec(name="double", function="backlot_replays:double", **spec),
        "weighed": PassSpec(name="weighed", function="backlot_replays:weighed",
                            needs=lambda params, roles: ("scale",), **spec)})
    Toy.off, Toy.batched, Toy.raised, Toy.notes = lambda photo: 0, 0, None, ()
    return Services(settings=Settings(home=tmp_path / "home", lease_seconds=5))


class Direct:
    """A Runner that settles each pass at once, as a job's own does, without Prefect. stop: the place it ends before."""

    def __init__(self, here: Services, job_id: str, stop: str | None = None) -> None:
        self._here, self._stop = here, stop
        self._job = JobRef(job_id=job_id, pipeline="toy", profile="tiny")
        self._position = 0

    def run(self, pass_name: str, params: PassParams, *, at: str | None = None, **inputs: Artifact | None) -> Artifact:
        if self._stop == (at or pass_name):
            raise KeyboardInterrupt
        self._position += 1
        given = {role: artifact for role, artifact in inputs.items() if artifact is not None}
        return run_pass(self._here, [PassRequest(
            job=self._job, at=at or pass_name, position=self._position, pass_name=pass_name, params=params,
            inputs=given)])[0].value().artifact

    def skip(self, pass_name: str, reason: str, *, at: str | None = None) -> None:
        self._position += 1
        self._here.ledger.skip(self._job.job_id, at or pass_name, self._position, pass_name, reason)


def order(runner: Runner, photo: Artifact) -> Artifact:
    first = runner.run("add", AddParams(amount=3), at="first", photo=photo)
    runner.skip("add", "not today", at="extra")
    middle = runner.run("double", AddParams(), at="middle", photo=first)
    return runner.run("add", AddParams(amount=5), at="last", photo=middle)


Order = Callable[[Runner, Artifact], Artifact]


def open_job(here: Services, job_id: str) -> Artifact:
    here.ledger.open_job(NewJob(job_id=job_id, pipeline="toy", profile="tiny", requested={}, resolved={},
                                schema_version=1))
    artifact = put_picture(here, np.arange(8 * 6 * 3, dtype=np.uint8).reshape(8, 6, 3) // 2)
    here.ledger.observe_source(job_id, "file:///photo.png", "1", 1, None, artifact.digest, artifact, "toy")
    return artifact


def run(here: Services, job_id: str = "job", steps: Order = order, stop: str | None = None) -> None:
    photo = open_job(here, job_id)
    if stop is None:
        steps(Direct(here, job_id), photo)
    else:
        with pytest.raises(KeyboardInterrupt):
            steps(Direct(here, job_id, stop), photo)


def replay(here: Services, job_id: str = "job", steps: Order = order, at: Sequence[str] = (), **options: bool,
           ) -> dict[str, Replayed]:
    """A fresh process's replay: nothing decoded, nothing loaded."""
    fresh = Services(settings=here.settings)
    fresh.__dict__["zoo"] = Zoo(load=lambda model, device, dtype: [model.digest])
    if "pins" in here.__dict__:
        fresh._pins["tiny"] = here.__dict__["pins"]
    planner = Planner(fresh.lineage.recorded(job_id))
    steps(planner, fresh.lineage.sources(job_id)[-1].artifact)
    again = Replay(fresh, fresh.lineage.job(job_id), **options)
    return {place.at: again.place(place) for place in planner.places if not at or place.at in at}


def verdicts(found: Mapping[str, Replayed]) -> dict[str, str]:
    return {at: one.verdict for at, one in found.items()}


def changed(one: Replayed) -> dict[str, tuple[Any, Any]]:
    return {change.part: (change.before, change.after) for change in one.changes}


def output(here: Services, at: str, job_id: str = "job") -> Artifact:
    [row] = [row for row in here.lineage.passes(job_id) if row.at == at]
    return row.outputs["sum"]


def path(here: Services, artifact: Artifact) -> Path:
    return Path(here.store.uri(artifact.digest).removeprefix("file://"))


def everything(here: Services) -> tuple[dict[str, list[Any]], dict[str, str]]:
    """Every row of every table, and the digest of every file that is not the database's own."""
    with here.database.read() as connection:
        rows = {name: sorted(map(repr, connection.execute(select(table)).all()))
                for name, table in metadata.tables.items()}
    files = {str(one): hashlib.sha256(one.read_bytes()).hexdigest() for one in here.settings.home.rglob("*")
             if one.is_file() and not one.name.startswith("backlot.db")}
    return rows, files
