"""The real pass `relight` through run_pass: jobs that may share a batch do, and each gets its own picture."""

from pathlib import Path
from typing import Any

import numpy as np

from models.params import RelightParams
from storage.records import NewJob
from storage.settings import Settings
from tasks.requests import JobRef, PassRequest
from tasks.run_pass import put_picture, run_pass
from tasks.services import Services


def services(home: Path) -> Services:
    made = Services(settings=Settings(home=home, lease_seconds=60))
    made.ledger.open_job(NewJob(job_id="a", pipeline="toy", profile="tiny", requested={}, resolved={},
                                schema_version=1))
    return made


def request(here: Services, at: str, level: int, **changes: Any) -> PassRequest:
    """Its product and scene are flat greys of `level` with a bright corner."""
    placed = np.full((64, 96, 4), level, dtype=np.uint8)
    placed[:32, :48] = 255
    inputs = {role: put_picture(here, picture) for role, picture in (("placed", placed), ("scene", placed[:, :, 1:]))}
    for role, artifact in inputs.items():
        here.ledger.observe_source("a", f"file:///{at}-{role}.png", "1", 1, None, artifact.digest, artifact, "toy")
    params = {"prompt": f"a jar, {at}", "negative_prompt": "lowres", "seed": level, "steps": 4, "guidance_scale": 7.0}
    return PassRequest(job=JobRef(job_id="a", pipeline="toy", profile="tiny"), at=at, position=1,
                       pass_name="relight", params=RelightParams(**(params | changes)), inputs=inputs)


def test_relights_of_one_size_and_effort_are_one_batch(tmp_path: Path) -> None:
    here = services(tmp_path / "together")
    asked: list[tuple[str, int, dict[str, Any]]] = [
        ("one", 30, {}), ("two", 90, {"prompt": "a jar on oak, " * 10}), ("more steps", 60, {"steps": 5}),
        ("three", 150, {"negative_prompt": ""})]
    outcomes = run_pass(here, [request(here, at, level, **changes) for at, level, changes in asked])
    assert {row.at: (row.batch_size, row.model_calls) for row in here.lineage.passes("a")} == {
        "one": (3, 4 + 3), "two": (3, 4 + 3), "three": (3, 4 + 3), "more steps": (1, 5 + 4)}

    apart = services(tmp_path / "apart")
    for (at, level, changes), outcome in zip(asked, outcomes, strict=True):
        [alone] = run_pass(apart, [request(apart, at, level, **changes)])
        off = np.abs(here.picture(outcome.value().artifact).astype(int) - apart.picture(alone.value().artifact))
        assert off.max() <= 1
