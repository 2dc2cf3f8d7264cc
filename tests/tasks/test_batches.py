"""run_pass with a pass that takes several requests at once: a toy one, a real store and a real SQLite file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from models.errors import InputError
from models.params import PassParams
from models.passes import PassContext, PassSpec
from models.pictures import Picture
from storage.errors import FencedOff
from storage.records import Artifact, NewJob
from storage.settings import Settings
from tasks import work
from tasks.leases import LeaseKeeper
from tasks.progress import Event, PassStarted, PassStepped, listening
from tasks.requests import JobRef, Outcome, PassRequest
from tasks.run_pass import MOST_TOGETHER, put_picture, run_pass
from tasks.services import Services


class AddParams(PassParams):
    own = ("amount",)
    amount: int = 1
    times: int = 1


class Toy:
    """What was computed together: the amounts of each call. spoilt: an amount that no call survives."""

    calls: list[list[int]]
    spoilt: Callable[[Sequence[int]], BaseException | None]


def add_all(params: Sequence[AddParams], context: PassContext, pictures: Sequence[Mapping[str, Picture]],
            ) -> list[Picture]:
    amounts = [one.amount for one in params]
    Toy.calls.append(amounts)
    if error := Toy.spoilt(amounts):
        raise error
    context.called(1)
    return [np.asarray(given["photo"] + one.amount * one.times, dtype=np.uint8)
            for one, given in zip(params, pictures, strict=True)]


def add(params: AddParams, context: PassContext, *, photo: Picture) -> Picture:
    return add_all([params], context, [{"photo": photo}])[0]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Services]:
    toys = ModuleType("backlot_batches")
    toys.add, toys.add_all = add, add_all  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "backlot_batches", toys)
    spec: dict[str, Any] = {"version": 1, "params": AddParams, "roles": ("photo",), "output": "sum",
                            "function": "backlot_batches:add", "batch": "backlot_batches:add_all"}
    monkeypatch.setattr(work, "PASSES", {"add": PassSpec(name="add", **spec)})
    Toy.calls, Toy.spoilt = [], lambda amounts: None
    services = Services(settings=Settings(home=tmp_path, lease_seconds=5))
    services.ledger.open_job(NewJob(job_id="a", pipeline="toy", profile="tiny", requested={}, resolved={},
                                    schema_version=1))
    return services


def photo(here: Services, side: int = 8, level: int = 7) -> Artifact:
    artifact = put_picture(here, np.full((side, side, 3), level, dtype=np.uint8))
    here.ledger.observe_source("a", f"file:///{side}.png", "1", 1, None, artifact.digest, artifact, "toy")
    return artifact


def request(artifact: Artifact, amount: int, **more: int) -> PassRequest:
    return PassRequest(job=JobRef(job_id="a", pipeline="toy", profile="tiny"), at=f"add {amount}", position=1,
                       pass_name="add", params=AddParams(amount=amount, **more), inputs={"photo": artifact})


def sums(here: Services, outcomes: Sequence[Outcome]) -> list[int]:
    return [int(here.picture(one.value().artifact).max()) for one in outcomes]


def test_several_requests_are_computed_as_one_and_recorded_one_by_one(here: Services) -> None:
    given = photo(here)
    outcomes = run_pass(here, [request(given, amount) for amount in (1, 2, 3)])
    assert Toy.calls == [[1, 2, 3]]
    assert sums(here, outcomes) == [8, 9, 10]
    rows = here.lineage.passes("a")
    assert [(row.at, row.disposition, row.batch_size, row.model_calls) for row in rows] == [
        (f"add {amount}", "executed", 3, 1) for amount in (1, 2, 3)]
    assert len({row.exec_id for row in rows}) == 3


def test_what_is_there_already_is_not_in_the_batch(here: Services) -> None:
    given = photo(here)
    run_pass(here, [request(given, 2)])
    outcomes = run_pass(here, [request(given, amount) for amount in (1, 2, 3, 3)])
    assert Toy.calls == [[2], [1, 3]]
    assert [one.value().disposition for one in outcomes] == ["executed", "reused", "executed", "reused"]
    assert sums(here, outcomes) == [8, 9, 10, 10]
    assert [row.batch_size for row in here.lineage.passes("a") if row.at == "add 2"] == [1]


def test_only_like_goes_with_like(here: Services) -> None:
    small, large = photo(here), photo(here, side=16)
    wanted = [request(small, 1), request(large, 2), request(small, 3, times=2), request(small, 4), request(large, 5)]
    assert sums(here, run_pass(here, wanted)) == [8, 9, 13, 11, 12]
    assert Toy.calls == [[1, 4], [2, 5], [3]]


def test_a_batch_has_a_largest_size(here: Services) -> None:
    given, count = photo(here), MOST_TOGETHER + 3
    assert sums(here, run_pass(here, [request(given, amount) for amount in range(count)])) == [
        7 + amount for amount in range(count)]
    assert [len(amounts) for amounts in Toy.calls] == [MOST_TOGETHER, 3]


def test_one_that_spoils_its_batch_fails_alone(here: Services) -> None:
    Toy.spoilt = lambda amounts: InputError("is unlucky", field="amount", value=3, remedy="-") if 3 in amounts else None
    outcomes = run_pass(here, [request(photo(here), amount) for amount in range(6)])
    assert [outcome.error is None for outcome in outcomes] == [True, True, True, False, True, True]
    assert Toy.calls == [[0, 1, 2, 3, 4, 5], [0, 1, 2], [3, 4, 5], [3], [4, 5]]
    assert sums(here, outcomes[4:]) == [11, 12]


def test_a_batch_too_large_for_the_memory_gets_smaller(here: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    trimmed: list[int] = []
    monkeypatch.setattr(here.zoo, "trim", lambda: trimmed.append(1))
    Toy.spoilt = lambda amounts: RuntimeError("CUDA out of memory") if len(amounts) > 2 else None
    assert sums(here, run_pass(here, [request(photo(here), amount) for amount in range(8)])) == list(range(7, 15))
    assert [len(amounts) for amounts in Toy.calls] == [8, 4, 2, 2, 2, 2]
    assert len(trimmed) == 2, "once for eight and once for four: the second four knew"
    rows = here.lineage.passes("a")
    assert {row.batch_size for row in rows} == {2}
    assert rows[0].notes[0].startswith("out of memory with 8 pictures at once: fewer were computed at a time")


def test_a_result_that_cannot_be_recorded_costs_the_others_nothing(
        here: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = here.ledger.commit

    def fenced(claim: Any, parts: Any, *args: Any, **named: Any) -> Any:
        if parts.params["amount"] == 2:
            raise FencedOff(claim.exec_id)
        return commit(claim, parts, *args, **named)

    monkeypatch.setattr(here.ledger, "commit", fenced)
    outcomes = run_pass(here, [request(photo(here), amount) for amount in (1, 2, 3)])
    assert [type(outcome.error) for outcome in outcomes] == [type(None), FencedOff, type(None)]
    assert Toy.calls == [[1, 2, 3]]


def test_a_batch_goes_on_while_any_of_it_is_ours(here: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    lost: set[int] = set()
    check = LeaseKeeper.check_any

    def some_lost(self: LeaseKeeper, claims: Sequence[Any]) -> None:
        with self._lock:
            self._lost.update(claim.exec_id for index, claim in enumerate(claims) if index in lost)
        check(self, claims)

    monkeypatch.setattr(LeaseKeeper, "check_any", some_lost)
    lost = {0, 1}
    assert all(one.error is None for one in run_pass(here, [request(photo(here), amount) for amount in (1, 2, 3)]))
    lost = {0, 1, 2}
    outcomes = run_pass(here, [request(photo(here), amount) for amount in (4, 5, 6)])
    assert {type(outcome.error) for outcome in outcomes} == {FencedOff}
    assert Toy.calls == [[1, 2, 3]], "nothing was computed for nobody"


def test_everybody_is_told_of_each_step(here: Services) -> None:
    seen: list[Event] = []
    with listening(seen.append):
        run_pass(here, [request(photo(here), amount) for amount in (1, 2)])
    for kind in (PassStarted, PassStepped):
        assert [event.at for event in seen if isinstance(event, kind)] == ["add 1", "add 2"]
