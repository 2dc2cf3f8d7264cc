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
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from prefect.runtime import task_run

from models.errors import MemoryExhausted
from models.passes import PassContext
from models.pictures import Picture, encode_png
from models.sparing import Spare
from storage.faults import point
from storage.records import Artifact, Busy, Claim, Execution, RunFacts
from tasks.classify import classify
from tasks.ladder import NOTES, Rung, note_of_halving, rungs_for, spare_on
from tasks.leases import LeaseKeeper
from tasks.machine import environment
from tasks.progress import PassEnded, PassStarted, PassStepped, PassWaits, Warned, of_earlier_run, tell
from tasks.requests import JobRef, Outcome, PassRequest, PassResult
from tasks.services import Services
from tasks.work import Work, prepare, resolve_function

REUSED = "same pass version, parameters, inputs and weights"
EXECUTED = "no earlier result for this key"
LOST = "the bytes of the earlier result were lost or damaged"
REFRESHED = "asked for by --refresh"
log = logging.getLogger(__name__)

WAIT_SECONDS = (0.2, 2.0)
"""Shortest and longest pause before asking again for a key that another worker is computing."""


MOST_TOGETHER = 8
"""Pictures in one batch. After 8 more brings little (spec/performance.md 3, "Batch scaling")."""


@dataclass(frozen=True, kw_only=True)
class _Claimed:
    """index: which of the requests it is."""

    index: int
    work: Work
    claim: Claim

    @property
    def job(self) -> JobRef:
        return self.work.request.job


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
        claimed: list[_Claimed] = []
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
                    claimed.append(_Claimed(index=index, work=work, claim=answer))
                else:
                    _say_once(told, work, answer)
                    continue
            except Exception as error:
                outcomes[index] = Outcome(request=request, error=error)
            del waiting[index]
        for group in _groups(claimed):
            outcomes.update(_execute_together(services, keeper, group))
        if waiting and not claimed:
            time.sleep(random.uniform(*WAIT_SECONDS))
    return [outcomes[index] for index in range(len(requests))]


def _settle(services: Services, work: Work) -> Execution | Claim | Busy:
    """A finished execution whose bytes are intact, or a claim to make one, or word that another worker is at it."""
    while True:
        answer = services.ledger.claim(
            work.parts, job_id=work.request.job.job_id, worker=services.worker,
            lease_seconds=services.settings.lease_seconds, refresh=work.refresh)
        if not isinstance(answer, Execution) or services.intact(answer.outputs):
            return answer  # bytes that were not intact are now declared lost, so asking again yields a claim


def _say_once(told: set[str], work: Work, busy: Busy) -> None:
    """A wait can last as long as a dead worker's lease; whoever watches should know what for."""
    if busy.exec_id not in told:
        told.add(busy.exec_id)
        tell(PassWaits(job_id=work.request.job.job_id, at=work.request.at, seconds_left=busy.seconds_left))


def _reuse(services: Services, work: Work, execution: Execution, started: float) -> PassResult:
    request = work.request
    services.ledger.rest_on(request.job.job_id, request.at, request.position, execution, REUSED)
    seconds = time.monotonic() - started
    tell(PassEnded(job_id=request.job.job_id, at=request.at, pass_name=work.spec.name, disposition="reused",
                   seconds=seconds, model_calls=0, reason=REUSED, from_job=execution.job_id,
                   notes=tuple(map(of_earlier_run, execution.notes))))
    return PassResult(artifact=execution.outputs[work.spec.output], disposition="reused", made_by=execution.job_id)


def _groups(claimed: Sequence[_Claimed]) -> list[list[_Claimed]]:
    """What can be computed as one batch, in the order asked; MOST_TOGETHER at most."""
    groups: dict[Hashable, list[list[_Claimed]]] = {}
    for one in claimed:
        of_its_kind = groups.setdefault(one.work.kind or one.index, [[]])
        if len(of_its_kind[-1]) == MOST_TOGETHER:
            of_its_kind.append([])
        of_its_kind[-1].append(one)
    return [group for of_its_kind in groups.values() for group in of_its_kind]


def _execute_together(services: Services, keeper: LeaseKeeper, group: Sequence[_Claimed], notes: tuple[str, ...] = (),
                      ) -> dict[int, Outcome]:
    """Run claimed requests as one batch; where it fails, in halves, so that one failing item fails alone, and a batch
    too large for the memory gets smaller. Alone, a request goes down the ladder."""
    work = group[0].work
    place, batch, started = work.place, len(group), time.monotonic()
    if (most := services.ladder.most(place)) is not None and batch > most:
        parts = [group[start:start + most] for start in range(0, batch, most)]
        return _in_parts(services, keeper, parts, (*notes, note_of_halving(batch)))
    said = list(notes)
    kinds = {model.spec.kind for model in work.models.values()}
    rungs = rungs_for(place, kinds, offloads=services.zoo.offloads) if batch == 1 else (Rung.FREELY,)
    try:
        pictures, run = services.ladder.descend(
            place, rungs, lambda rung: _compute(services, keeper, group, spare_on(rung, place)),
            lambda rung: _take(services, group, rung, said))
    except Exception as error:
        if batch == 1:
            return {group[0].index: _failed(services, keeper, group[0], error)}
        too_many = isinstance(error, MemoryExhausted)
    else:
        facts = RunFacts(
            seconds=(time.monotonic() - started) / batch, model_calls=run.model_calls, batch_size=batch,
            environment=environment(services.zoo if work.models else None), notes=(*said, *run.notes),
            task_run_id=task_run.get_id(), **_device_facts(services, work))
        return {one.index: _settled(services, keeper, one, picture, facts)
                for one, picture in zip(group, pictures, strict=True)}
    if too_many:  # outside of the except: the error holds the batch's tensors, which must not lie beside the halves'
        services.ladder.too_many(place, batch)
        services.zoo.trim()
        said.append(note_of_halving(batch))
        _warn(group, said[-1])
    return _in_parts(services, keeper, [group[:batch // 2], group[batch // 2:]], tuple(said))


def _in_parts(services: Services, keeper: LeaseKeeper, parts: Sequence[Sequence[_Claimed]], notes: tuple[str, ...],
              ) -> dict[int, Outcome]:
    outcomes: dict[int, Outcome] = {}
    for part in parts:
        outcomes.update(_execute_together(services, keeper, part, notes))
    return outcomes


def _take(services: Services, group: Sequence[_Claimed], rung: Rung, said: list[str]) -> None:
    """Make what room a rung can make before it is tried, and say that it is."""
    services.zoo.free(keep=group[0].work.models.values())
    said[:] = [note for note in said if note not in NOTES.values()] + [NOTES[rung]]
    _warn(group, NOTES[rung])


def _warn(group: Sequence[_Claimed], text: str) -> None:
    for one in group:
        tell(Warned(job_id=one.job.job_id, text=f"{one.work.request.at}: {text}"))


def _compute(services: Services, keeper: LeaseKeeper, group: Sequence[_Claimed], spare: Spare,
             ) -> tuple[list[Picture], PassContext]:
    """The pictures of a group, and what its run counted. Raises FencedOff once none of it is ours any more."""
    first = group[0].work
    for one in group:
        tell(PassStarted(job_id=one.job.job_id, at=one.work.request.at, pass_name=first.spec.name))

    def on_step(done: int, total: int) -> None:
        keeper.check_any([one.claim for one in group])
        services.zoo.compiler.step()
        for one in group:
            tell(PassStepped(job_id=one.job.job_id, at=one.work.request.at, done=done, total=total))

    def note(text: str) -> None:
        context.notes.append(text)
        _warn(group, text)

    keeper.check_any([one.claim for one in group])  # lost while others ran? Then the pass would be for nothing
    # Copies: a pass that writes into its input must not change what the next one reads (torch warns of read-only ones).
    inputs = [{role: services.picture(artifact).copy() for role, artifact in one.work.request.inputs.items()}
              for one in group]
    with services.zoo.lease(first.models, spare) as models, services.zoo.compiler.telling(note):
        context = PassContext(models=models, on_step=on_step)
        if len(group) == 1:
            pictures = [resolve_function(first.spec.function)(first.request.params, context, **inputs[0])]
        else:
            pictures = resolve_function(str(first.spec.batch))(
                [one.work.request.params for one in group], context, inputs)
    point("pass.computed")
    return pictures, context


def _settled(services: Services, keeper: LeaseKeeper, one: _Claimed, picture: Picture, facts: RunFacts) -> Outcome:
    """Store one computed picture and record it under its own claim."""
    try:
        outcome = Outcome(request=one.work.request, result=_commit(services, one, picture, facts))
    except Exception as error:
        return _failed(services, keeper, one, error)
    keeper.release(one.claim)
    return outcome


def _commit(services: Services, one: _Claimed, picture: Picture, facts: RunFacts) -> PassResult:
    work, request = one.work, one.work.request
    artifact = put_picture(services, picture)
    for model in work.models.values():
        services.know_model(model)
    reason = REFRESHED if work.refresh else LOST if one.claim.generation > 1 else EXECUTED
    services.ledger.commit(one.claim, work.parts, {work.spec.output: artifact}, facts, job_id=one.job.job_id,
                           at=request.at, position=request.position, reason=reason)
    tell(PassEnded(job_id=one.job.job_id, at=request.at, pass_name=work.spec.name, disposition="executed",
                   seconds=facts.seconds, model_calls=facts.model_calls, reason=reason, notes=facts.notes))
    return PassResult(artifact=artifact, disposition="executed", made_by=one.job.job_id)


def _failed(services: Services, keeper: LeaseKeeper, one: _Claimed, error: Exception) -> Outcome:
    """One request's failure, recorded under its claim and kept to it."""
    _fail(services, one.claim, error)
    keeper.release(one.claim)
    return Outcome(request=one.work.request, error=error)


def _fail(services: Services, claim: Claim, error: BaseException) -> None:
    """Record a failure, which frees the key. Where that fails too, the lease's end frees it: the first error counts."""
    try:
        services.ledger.fail(claim, classify(error).code, f"{type(error).__name__}: {error}")
    except Exception:
        log.warning("could not record the failure of execution %s", claim.exec_id, exc_info=True)


def _device_facts(services: Services, work: Work) -> dict[str, Any]:
    """Where it ran. A pass without models computes on the CPU whatever the zoo's device is."""
    if not work.models:
        return {}
    models, zoo = work.models.values(), services.zoo
    device = zoo.device_of(models)
    return {"device": device, "dtype": zoo.dtype_of(models),
            "peak_memory": None if device == "cpu" else zoo.peak_memory()}


def put_picture(services: Services, picture: Picture) -> Artifact:
    """Store a picture losslessly and keep its pixels at hand for the next pass."""
    artifact = services.store.put(
        encode_png(picture), media_type="image/png", width=int(picture.shape[1]), height=int(picture.shape[0]))
    services.remember(artifact, picture)
    return artifact
