"""A pipeline of toy passes (integer arithmetic on small pictures), run by the very code that runs a real job.

`run_toy` goes through flows.job.run_job, JobRunner, the tasks' own functions, run_pass, store and ledger. Left out are
torch, Prefect (a task's function is called as it is, with the retries that Prefect would ask our classifier for) and
the interpreter in which photos are decoded, which takes a tenth of a second to start.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from pydantic import BaseModel

from flows.job import run_job
from flows.runner import Runner
from models.params import PassParams
from models.passes import PASSES, PassContext, PassSpec
from models.photos import DecodedPhoto, decode_photo
from models.pictures import Picture
from storage.outputs import Outputs
from storage.records import Artifact
from tasks import jobs, passes
from tasks.classify import classify
from tasks.gate import PhotoGate
from tasks.requests import PassRequest
from tasks.run_pass import run_pass
from tasks.services import services

MOST_TRIES = 8


class ToyDocument(BaseModel):
    """amount: what tells two jobs apart; the first pass does not read it, so jobs share that one."""

    job_id: str
    image: str
    amount: int = 1
    seconds: float = 0.0
    debug_mode: bool = False
    seed: int = 7


class ResolvedToy(BaseModel):
    document: ToyDocument


class ToyParams(PassParams):
    """seconds: how long a pass computes."""

    amount: int = 0
    seconds: float = 0.0


class History:
    """One line an effect, appended to a file whole and at once, so that a killed process leaves what it did."""

    path: Path | None = None

    @classmethod
    def write(cls, **fact: Any) -> None:
        if cls.path is not None:
            handle = os.open(cls.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.write(handle, json.dumps(fact).encode() + b"\n")
            os.close(handle)


def read_history(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _compute(name: str, params: ToyParams, context: PassContext, pictures: dict[str, Picture]) -> None:
    """Say that the pass computes, and take the time it was asked to take, in steps."""
    digests = {role: hashlib.sha256(picture.tobytes()).hexdigest() for role, picture in pictures.items()}
    History.write(computed=name, params=params.model_dump(), inputs=digests)
    until = time.monotonic() + params.seconds
    while time.monotonic() < until:
        time.sleep(0.01)
    context.called(1)


def shift(params: ToyParams, context: PassContext, *, photo: Picture) -> Picture:
    _compute("shift", params, context, {"photo": photo})
    return np.asarray(photo + np.uint8(params.amount), dtype=np.uint8)


def mirror(params: ToyParams, context: PassContext, *, shifted: Picture) -> Picture:
    _compute("mirror", params, context, {"shifted": shifted})
    return np.ascontiguousarray(shifted[:, ::-1] ^ np.uint8(params.amount))


def blend(params: ToyParams, context: PassContext, *, shifted: Picture, mirrored: Picture) -> Picture:
    _compute("blend", params, context, {"shifted": shifted, "mirrored": mirrored})
    return np.asarray((shifted.astype(np.uint16) + mirrored + params.amount) // 2, dtype=np.uint8)


_TOYS = {f"toy_{function.__name__}": PassSpec(
    name=f"toy_{function.__name__}", version=1, function=f"toy_job:{function.__name__}", params=ToyParams,
    roles=roles, output=output) for function, roles, output in (
        (shift, ("photo",), "shifted"), (mirror, ("shifted",), "mirrored"), (blend, ("shifted", "mirrored"), "final"))}

between_jobs: list[Callable[[], None]] = []
"""Called before each job: what a test lets happen there."""


def order(resolved: ResolvedToy, profile: str, photo: Artifact, runner: Runner) -> Artifact:
    ask = resolved.document
    shifted = runner.run("toy_shift", ToyParams(amount=3, seconds=ask.seconds), photo=photo)
    mirrored = runner.run("toy_mirror", ToyParams(amount=ask.amount, seconds=ask.seconds), shifted=shifted)
    runner.skip("toy_blur", "nobody asked for it")
    return runner.run("toy_blend", ToyParams(amount=ask.amount, seconds=ask.seconds), shifted=shifted,
                      mirrored=mirrored)


def run_toy(document: ToyDocument) -> list[str]:
    """Run one job with this process's services. The pipeline's name is a real one: run_job looks its places up."""
    with _toys():
        for action in between_jobs:
            action()
        return run_job(pipeline="omni-bg", requested=document, profile="tiny", refresh=(), schema_version=1,
                       resolve=lambda asked, min_side, methods: ResolvedToy(document=asked), resolved_kind=ResolvedToy,
                       order=order)


@contextmanager
def _toys() -> Generator[None]:
    steps = ("open_job", "ingest", "publish")
    with (patch.dict(PASSES, _TOYS), patch.object(passes, "call", _call),
          patch.multiple(jobs, **{name: _retried(getattr(jobs, name).fn) for name in steps}),
          patch.object(Outputs, "put", _witnessed(Outputs.put)), patch.object(PhotoGate, "decode", _decode_here)):
        yield


def _decode_here(self: PhotoGate, data: bytes, *, name: str) -> DecodedPhoto:
    return decode_photo(data, name=name)


def _call(request: PassRequest) -> Artifact:
    return _retried(lambda: run_pass(services(), [request])[0].value().artifact)()


def _retried(function: Callable[..., Any]) -> Callable[..., Any]:
    """As Prefect would: again, where the classifier says so."""
    @wraps(function)
    def tried(*args: Any, **named: Any) -> Any:
        for attempt in range(1, MOST_TRIES + 1):
            try:
                return function(*args, **named)
            except Exception as error:
                if attempt >= classify(error).tries:
                    raise
                time.sleep(0.05)
        raise AssertionError("no class has more tries")

    return tried


def _witnessed(put: Callable[..., str]) -> Callable[..., str]:
    """Deliveries as the customer sees them: what came, when it came."""
    def putting(self: Outputs, job_id: str, name: str, data: bytes) -> str:
        uri = put(self, job_id, name, data)
        History.write(delivered=uri, job=job_id, name=name, digest=hashlib.sha256(data).hexdigest())
        return uri

    return putting
