"""The one place where a pass meets store, lineage and GPU: look up, claim, run, store, record.

    key = sha256(canonical_json{pass, version, params, {role: digest}, {role: weights digest}})
      succeeded in lineage, and the bytes still there?  yes -> the job rests on it ("reused")
      no -> claim the key (one running execution a key, under a lease) -> pictures -> models -> run -> store -> commit

The order of writes is bytes first, then one transaction: a row never names bytes that are not there.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module, metadata
from typing import Any

from prefect.runtime import task_run

from models.errors import WeightsError
from models.passes import PASSES, PassContext, PassSpec
from models.pictures import Picture, encode_png
from models.weights import PinnedModel
from storage.faults import point
from storage.records import Artifact, Busy, Claim, Execution, KeyParts, RunFacts
from tasks.classify import classify
from tasks.leases import LeaseKeeper
from tasks.progress import PassEnded, PassStarted, PassStepped, PassWaits, tell
from tasks.requests import Outcome, PassRequest, PassResult
from tasks.services import Services

REUSED = "same pass version, parameters, inputs and weights"
EXECUTED = "no earlier result for this key"
LOST = "the bytes of the earlier result were lost or damaged"
REFRESHED = "asked for by --refresh"
log = logging.getLogger(__name__)

WAIT_SECONDS = (0.2, 2.0)
"""Shortest and longest pause before asking again for a key that another worker is computing."""


@dataclass(frozen=True, kw_only=True)
class _Work:
    """A request with everything its key needs."""

    request: PassRequest
    spec: PassSpec
    models: dict[str, PinnedModel]
    parts: KeyParts

    @property
    def refresh(self) -> bool:
        return bool({self.spec.name, self.request.at} & set(self.request.job.refresh))


def run_pass(services: Services, requests: Sequence[PassRequest]) -> list[Outcome]:
    """Settle every request: reuse what exists, run the rest together, wait for what others are running.

    One failing request fails alone; its error is in its outcome. Cancellation (any BaseException that is not an
    Exception) fails everything claimed, which frees the keys, and rises.
    """
    with LeaseKeeper(services.ledger, services.settings.lease_seconds) as keeper:
        try:
            return _run_all(services, keeper, requests)
        except BaseException as error:
            for claim in keeper.held:
                _fail(services, claim, error)
            raise


def _run_all(services: Services, keeper: LeaseKeeper, requests: Sequence[PassRequest]) -> list[Outcome]:
    outcomes: dict[int, Outcome] = {}
    waiting = dict(enumerate(requests))
    told: set[str] = set()
    while waiting:
        claimed: dict[int, tuple[_Work, Claim]] = {}
        for index, request in list(waiting.items()):
            started = time.monotonic()
            try:
                work = prepare(services, request)
                answer = _settle(services, work)
                if isinstance(answer, Execution):
                    outcomes[index] = Outcome(request=request, result=_reuse(services, work, answer, started))
                elif isinstance(answer, Claim):
                    keeper.hold(answer)
                    point("pass.claimed")
                    claimed[index] = (work, answer)
                else:
                    _say_once(told, work, answer)
                    continue
            except Exception as error:
                outcomes[index] = Outcome(request=request, error=error)
            del waiting[index]
        for index, (work, claim) in claimed.items():
            outcomes[index] = _execute_alone(services, keeper, work, claim)
        if waiting and not claimed:
            time.sleep(random.uniform(*WAIT_SECONDS))
    return [outcomes[index] for index in range(len(requests))]


def prepare(services: Services, request: PassRequest) -> _Work:
    """The request's pass, its pinned weights and its key; nothing is loaded."""
    spec = PASSES[request.pass_name]
    given = set(request.inputs)
    if not set(spec.roles) <= given <= {*spec.roles, *spec.optional_roles}:
        raise TypeError(f"the pass {spec.name} takes {spec.roles} and may take {spec.optional_roles}, "
                        f"got {sorted(given)}")
    if not isinstance(request.params, spec.params):
        raise TypeError(f"the pass {spec.name} takes {spec.params.__name__}, got {type(request.params).__name__}")
    models = _weights_for(services, spec, request)
    parts = KeyParts(
        pass_name=spec.name, pass_version=spec.version, params=request.params.key_parts(),
        inputs={role: artifact.digest for role, artifact in request.inputs.items()},
        weights={role: model.digest for role, model in models.items()})
    return _Work(request=request, spec=spec, models=models, parts=parts)


def _weights_for(services: Services, spec: PassSpec, request: PassRequest) -> dict[str, PinnedModel]:
    roles = spec.needs(request.params, request.inputs.keys())
    if not roles:
        return {}
    pinned = services.pinned(request.job.profile)
    missing = [role for role in roles if role not in pinned and role not in spec.optional_weights]
    if missing:
        raise WeightsError(f"has no weights for {', '.join(missing)}, which the pass {spec.name} needs",
                           field="profile", value=request.job.profile, remedy="Choose a profile that has them")
    return {role: pinned[role] for role in roles if role in pinned}


def _settle(services: Services, work: _Work) -> Execution | Claim | Busy:
    """A finished execution whose bytes are intact, or a claim to make one, or word that another worker is at it."""
    while True:
        answer = services.ledger.claim(
            work.parts, job_id=work.request.job.job_id, worker=services.worker,
            lease_seconds=services.settings.lease_seconds, refresh=work.refresh)
        if not isinstance(answer, Execution) or services.intact(answer.outputs):
            return answer  # bytes that were not intact are now declared lost, so asking again yields a claim


def _say_once(told: set[str], work: _Work, busy: Busy) -> None:
    """A wait can last as long as a dead worker's lease; whoever watches should know what for."""
    if busy.exec_id not in told:
        told.add(busy.exec_id)
        tell(PassWaits(job_id=work.request.job.job_id, at=work.request.at, seconds_left=busy.seconds_left))


def _reuse(services: Services, work: _Work, execution: Execution, started: float) -> PassResult:
    request = work.request
    services.ledger.rest_on(request.job.job_id, request.at, request.position, execution, REUSED)
    seconds = time.monotonic() - started
    tell(PassEnded(job_id=request.job.job_id, at=request.at, pass_name=work.spec.name, disposition="reused",
                   seconds=seconds, model_calls=0, reason=REUSED, from_job=execution.job_id))
    return PassResult(artifact=execution.outputs[work.spec.output], disposition="reused", made_by=execution.job_id)


def _execute_alone(services: Services, keeper: LeaseKeeper, work: _Work, claim: Claim) -> Outcome:
    """Run one claimed request; an error is recorded under its claim and kept to this request."""
    try:
        outcome = Outcome(request=work.request, result=_execute(services, keeper, work, claim))
    except Exception as error:
        _fail(services, claim, error)
        if classify(error).kind == "out_of_memory":
            services.zoo.free()
        outcome = Outcome(request=work.request, error=error)
    keeper.release(claim)
    return outcome


def _fail(services: Services, claim: Claim, error: BaseException) -> None:
    """Record a failure, which frees the key. Where that fails too, the lease's end frees it: the first error counts."""
    try:
        services.ledger.fail(claim, classify(error).code, f"{type(error).__name__}: {error}")
    except Exception:
        log.warning("could not record the failure of execution %s", claim.exec_id, exc_info=True)


def _execute(services: Services, keeper: LeaseKeeper, work: _Work, claim: Claim) -> PassResult:
    request, job = work.request, work.request.job
    started = time.monotonic()
    keeper.check(claim)  # it may have been lost while others of its group ran: then the pass would be for nothing
    tell(PassStarted(job_id=job.job_id, at=request.at, pass_name=work.spec.name))

    def on_step(done: int, total: int) -> None:
        keeper.check(claim)
        tell(PassStepped(job_id=job.job_id, at=request.at, done=done, total=total))

    # Copies: a pass that writes into its input must not change what the next one reads (torch warns of read-only ones).
    pictures = {role: services.picture(artifact).copy() for role, artifact in request.inputs.items()}
    function = resolve_function(work.spec.function)
    with services.zoo.lease(work.models) as models:
        context = PassContext(models=models, on_step=on_step)
        picture: Picture = function(request.params, context, **pictures)
    point("pass.computed")
    artifact = put_picture(services, picture)
    for model in work.models.values():
        services.know_model(model)
    seconds = time.monotonic() - started
    reason = REFRESHED if work.refresh else LOST if claim.generation > 1 else EXECUTED
    services.ledger.commit(
        claim, work.parts, {work.spec.output: artifact},
        RunFacts(seconds=seconds, model_calls=context.model_calls, environment=environment(),
                 notes=tuple(context.notes), task_run_id=task_run.get_id(), **_device_facts(services, work)),
        job_id=job.job_id, at=request.at, position=request.position, reason=reason)
    tell(PassEnded(job_id=job.job_id, at=request.at, pass_name=work.spec.name, disposition="executed",
                   seconds=seconds, model_calls=context.model_calls, reason=reason, notes=tuple(context.notes)))
    return PassResult(artifact=artifact, disposition="executed", made_by=job.job_id)


def _device_facts(services: Services, work: _Work) -> dict[str, Any]:
    """Where it ran. A pass without models computes on the CPU whatever the zoo's device is."""
    if not work.models:
        return {}
    return {"device": services.zoo.device, "dtype": services.zoo.dtype, "peak_memory": services.zoo.peak_memory()}


def put_picture(services: Services, picture: Picture) -> Artifact:
    """Store a picture losslessly and keep its pixels at hand for the next pass."""
    artifact = services.store.put(
        encode_png(picture), media_type="image/png", width=int(picture.shape[1]), height=int(picture.shape[0]))
    services.remember(artifact, picture)
    return artifact


@cache
def resolve_function(name: str) -> Callable[..., Any]:
    """The pass function behind "package.module:name". Imported here and late: a job of hits loads no torch."""
    module, _, attribute = name.partition(":")
    function: Callable[..., Any] = getattr(import_module(module), attribute)
    return function


@cache
def environment() -> dict[str, str]:
    """Versions that may change pixels; recorded with every execution, in no key."""
    names = ("backlot", "torch", "diffusers", "transformers", "numpy", "opencv-python-headless", "pillow", "spandrel")
    return {name: metadata.version(name) for name in names}
