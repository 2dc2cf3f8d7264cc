"""run_pass on toy passes (arithmetic on small arrays) with a real store and a real SQLite file."""

import sys
import time
from collections.abc import Generator
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest

from models.errors import InputError, WeightsError
from models.params import PassParams
from models.passes import PassContext, PassSpec
from models.pictures import Picture
from storage.errors import ArtifactMissing, FencedOff
from storage.ledger import Ledger
from storage.records import Artifact, Busy, Claim, Execution, NewJob
from storage.settings import Settings
from tasks import work as module
from tasks.leases import LeaseKeeper
from tasks.progress import Event, PassEnded, PassWaits, listening
from tasks.requests import JobRef, PassRequest
from tasks.run_pass import put_picture, run_pass
from tasks.services import Services


class AddParams(PassParams):
    amount: int = 1
    added: int = 0
    added_later: ClassVar = {"added": 0}


class ToyLog:
    calls: list[str]
    notes: tuple[str, ...]


def add(params: AddParams, context: PassContext, *, photo: Picture) -> Picture:
    ToyLog.calls.append(f"add {params.amount}")
    context.called(1)
    context.notes.extend(ToyLog.notes)
    return np.asarray(photo + params.amount, dtype=np.uint8)


def broken(params: AddParams, context: PassContext, *, photo: Picture) -> Picture:
    if params.amount == 13:
        raise InputError("is unlucky", field="amount", value=13, remedy="Take another")
    return add(params, context, photo=photo)


def interrupted(params: AddParams, context: PassContext, *, photo: Picture) -> Picture:
    raise KeyboardInterrupt


def scribble(params: AddParams, context: PassContext, *, photo: Picture) -> Picture:
    """Badly behaved: writes into its input."""
    photo += 100
    return photo


def slow(params: AddParams, context: PassContext, *, photo: Picture) -> Picture:
    time.sleep(0.5)
    return add(params, context, photo=photo)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Services]:
    toys = ModuleType("backlot_toys")
    for function in (add, broken, interrupted, scribble, slow):
        setattr(toys, function.__name__, function)
    monkeypatch.setitem(sys.modules, "backlot_toys", toys)
    spec: dict[str, Any] = {"version": 1, "params": AddParams, "roles": ("photo",), "output": "sum"}
    monkeypatch.setattr(module, "PASSES", {
        **{name: PassSpec(name=name, function=f"backlot_toys:{name}", **spec)
           for name in ("add", "broken", "interrupted", "scribble", "slow")},
        "needy": PassSpec(name="needy", function="backlot_toys:add", needs=lambda params, roles: ("dragon",), **spec)})
    ToyLog.calls, ToyLog.notes = [], ()
    services = Services(settings=Settings(home=tmp_path, lease_seconds=5))
    for job_id in ("a", "b"):
        services.ledger.open_job(NewJob(job_id=job_id, pipeline="toy", profile="tiny", requested={"n": job_id},
                                        resolved={}, schema_version=1))
    return services


@pytest.fixture
def photo(here: Services) -> Artifact:
    artifact = put_picture(here, np.full((8, 8, 3), 7, dtype=np.uint8))
    here.ledger.observe_source("a", "file:///photo.png", "1", 1, None, artifact.digest, artifact, "toy")
    return artifact


def request(photo: Artifact, name: str = "add", job: str = "a", at: str | None = None, refresh: tuple[str, ...] = (),
            **params: int) -> PassRequest:
    return PassRequest(job=JobRef(job_id=job, pipeline="toy", profile="tiny", refresh=refresh), at=at or name,
                       position=1, pass_name=name, params=AddParams(**params), inputs={"photo": photo})


def one(here: Services, wanted: PassRequest) -> Any:
    return run_pass(here, [wanted])[0].value()


def ask(here: Services, wanted: PassRequest) -> Claim | Busy | Execution:
    return here.ledger.claim(module.prepare(here, wanted).parts, job_id=wanted.job.job_id, worker="test",
                             lease_seconds=5)


def test_a_first_request_executes_and_a_second_reuses_naming_the_job(here: Services, photo: Artifact) -> None:
    made, again = one(here, request(photo)), one(here, request(photo, job="b"))
    assert (made.disposition, again.disposition, again.made_by) == ("executed", "reused", "a")
    assert again.artifact == made.artifact
    assert here.picture(made.artifact).max() == 8
    assert ToyLog.calls == ["add 1"]
    assert [(row.at, row.disposition, row.made_by_job, row.model_calls) for row in here.lineage.passes("b")] == [
        ("add", "reused", "a", 1)]


def test_whoever_reuses_a_result_is_told_the_notes_of_the_run_that_made_it(here: Services, photo: Artifact) -> None:
    ToyLog.notes = ("no upscaler is installed", "the VAE in tiles")
    seen: list[Event] = []
    with listening(seen.append):
        one(here, request(photo))
        one(here, request(photo, job="b"))
    made, reused = (event for event in seen if isinstance(event, PassEnded))
    assert (made.disposition, made.notes) == ("executed", ToyLog.notes)
    assert (reused.disposition, reused.notes) == (
        "reused", ("of the earlier run: no upscaler is installed", "of the earlier run: the VAE in tiles"))
    assert [here.lineage.passes(job)[0].notes for job in ("a", "b")] == [ToyLog.notes] * 2, "as it was noted"


def test_another_parameter_input_or_version_is_another_result(here: Services, photo: Artifact,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    first = one(here, request(photo))
    assert one(here, request(photo, amount=2)).disposition == "executed"
    assert one(here, request(first.artifact)).disposition == "executed"
    spec = module.PASSES["add"]
    monkeypatch.setitem(module.PASSES, "add", PassSpec(**{**vars(spec), "version": 2}))  # type: ignore[index]
    assert one(here, request(photo)).disposition == "executed"
    assert len(ToyLog.calls) == 4


def test_a_parameter_added_later_enters_the_key_only_where_it_differs(here: Services, photo: Artifact) -> None:
    assert "added" not in AddParams().key_parts()
    assert AddParams(added=1).key_parts() == {"amount": 1, "added": 1}


def test_lost_bytes_are_made_anew_as_a_new_generation(here: Services, photo: Artifact) -> None:
    made = one(here, request(photo))
    Path(here.store.uri(made.artifact.digest).removeprefix("file://")).unlink()
    again = one(here, request(photo, job="b"))
    assert (again.disposition, again.artifact) == ("executed", made.artifact)
    assert here.store.intact(made.artifact.digest)


def test_damaged_bytes_are_noticed_on_a_hit_and_made_anew(here: Services, photo: Artifact) -> None:
    made = one(here, request(photo))
    Path(here.store.uri(made.artifact.digest).removeprefix("file://")).write_bytes(b"rot")
    assert one(here, request(photo, job="b")).disposition == "executed"
    assert here.store.intact(made.artifact.digest)


def test_a_missing_input_fails_the_pass_and_its_own_pass_makes_it_anew(here: Services, photo: Artifact) -> None:
    made = one(here, request(photo))
    here._pictures.clear()
    Path(here.store.uri(made.artifact.digest).removeprefix("file://")).unlink()
    with pytest.raises(ArtifactMissing):
        one(here, request(made.artifact, amount=5))
    assert one(here, request(photo)).disposition == "executed"


def test_one_failing_request_fails_alone(here: Services, photo: Artifact) -> None:
    outcomes = run_pass(here, [request(photo, "broken", at=str(amount), amount=amount) for amount in (1, 13, 2)])
    assert [outcome.error is None for outcome in outcomes] == [True, False, True]
    with pytest.raises(InputError, match="unlucky"):
        outcomes[1].value()
    assert ToyLog.calls == ["add 1", "add 2"]


def test_a_pass_that_writes_into_its_input_changes_it_for_nobody_else(here: Services, photo: Artifact) -> None:
    assert here.picture(one(here, request(photo, "scribble")).artifact).max() == 107
    assert here.picture(photo).max() == 7
    assert here.picture(one(here, request(photo)).artifact).max() == 8


def test_a_failure_that_cannot_be_recorded_does_not_hide_what_failed(here: Services, photo: Artifact,
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(here.ledger, "fail", full)
    outcomes = run_pass(here, [request(photo, "broken", amount=13), request(photo)])
    assert isinstance(outcomes[0].error, InputError)
    assert outcomes[1].value().disposition == "executed"


def test_a_failed_key_may_be_tried_again(here: Services, photo: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = request(photo, "broken", amount=13)
    assert run_pass(here, [wanted])[0].error is not None
    claim = ask(here, wanted)
    assert isinstance(claim, Claim)
    here.ledger.fail(claim, "test", "only asked")
    monkeypatch.setattr(sys.modules["backlot_toys"], "broken", add)
    module.resolve_function.cache_clear()
    assert one(here, wanted).disposition == "executed"
    module.resolve_function.cache_clear()


def test_cancellation_rises_and_leaves_the_key_free(here: Services, photo: Artifact) -> None:
    wanted = request(photo, "interrupted")
    with pytest.raises(KeyboardInterrupt):
        run_pass(here, [wanted])
    assert isinstance(ask(here, wanted), Claim)  # not Busy until a lease ends


def test_equal_requests_in_one_call_run_once(here: Services, photo: Artifact) -> None:
    outcomes = run_pass(here, [request(photo, at="x"), request(photo, at="y")])
    assert sorted(outcome.value().disposition for outcome in outcomes) == ["executed", "reused"]
    assert ToyLog.calls == ["add 1"]


def test_two_workers_at_one_key_execute_once_and_agree(here: Services, photo: Artifact) -> None:
    found: list[Any] = []
    threads = [Thread(target=lambda job=job: found.append(one(here, request(photo, "slow", job=job)))) for job in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(result.disposition for result in found) == ["executed", "reused"]
    assert found[0].artifact == found[1].artifact
    assert ToyLog.calls == ["add 1"]


def test_whoever_waits_for_another_worker_is_told_once_and_takes_over_a_dead_ones_key(
        here: Services, photo: Artifact) -> None:
    wanted = request(photo, job="b")
    dead = here.ledger.claim(module.prepare(here, wanted).parts, job_id="a", worker="dead:1", lease_seconds=1)
    assert isinstance(dead, Claim)
    events: list[Event] = []
    with listening(events.append):
        result = one(here, wanted)
    assert (result.disposition, result.made_by) == ("executed", "b")
    assert [event.at for event in events if isinstance(event, PassWaits)] == ["add"]
    with pytest.raises(FencedOff):
        here.ledger.renew(dead, 5)


def test_a_worker_that_lost_its_lease_stops_at_its_next_step_and_records_nothing(
        here: Services, photo: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a long sleep of the machine: the lease is over, another worker has the key, then the renewal comes."""
    def robbed(params: AddParams, context: PassContext, *, photo: Picture) -> Picture:
        with here.database.write() as connection:
            connection.exec_driver_sql("UPDATE pass_execution SET lease_until = 0 WHERE state = 'running'")
        assert isinstance(ask(here, wanted), Claim)
        time.sleep(2.5)  # a renewal is due every 5 / 3 s
        context.called(2)
        raise AssertionError("it went on")

    wanted = request(photo)
    monkeypatch.setattr(sys.modules["backlot_toys"], "add", robbed)
    module.resolve_function.cache_clear()
    outcome = run_pass(here, [wanted])[0]
    module.resolve_function.cache_clear()
    assert isinstance(outcome.error, FencedOff)
    assert here.lineage.passes("a") == []


def test_a_pass_whose_lease_was_lost_while_others_of_its_group_ran_is_not_computed(
        here: Services, photo: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    second = request(photo, amount=2)

    def long(params: AddParams, context: PassContext, *, photo: Picture) -> Picture:
        with here.database.write() as connection:
            connection.exec_driver_sql("UPDATE pass_execution SET lease_until = 0 WHERE state = 'running'")
        assert isinstance(ask(here, second), Claim)
        time.sleep(1.5)  # a renewal is due every second
        return photo

    monkeypatch.setattr(sys.modules["backlot_toys"], "slow", long)
    module.resolve_function.cache_clear()
    short = Services(settings=here.settings.model_copy(update={"lease_seconds": 3}))
    outcomes = run_pass(short, [request(photo, "slow"), second])
    module.resolve_function.cache_clear()
    assert isinstance(outcomes[1].error, FencedOff)
    assert ToyLog.calls == []


def test_a_busy_database_does_not_end_the_renewals(here: Services, photo: Artifact) -> None:
    class Flaky(Ledger):
        renewals = 0

        def renew(self, claim: Claim, lease_seconds: int) -> None:
            self.renewals += 1
            if self.renewals == 1:
                raise OSError("database is locked")
            super().renew(claim, lease_seconds)

    ledger = Flaky(here.database)
    claim = ask(here, request(photo))
    assert isinstance(claim, Claim)
    with LeaseKeeper(ledger, 1) as keeper:
        keeper.hold(claim)
        time.sleep(1.2)
        keeper.check_any([claim])
    assert ledger.renewals >= 2


def test_cancelling_a_group_frees_every_key_it_had_claimed(here: Services, photo: Artifact) -> None:
    group = [request(photo, "interrupted"), request(photo, at="x", amount=5), request(photo, at="y", amount=6)]
    with pytest.raises(KeyboardInterrupt):
        run_pass(here, group)
    assert all(isinstance(ask(here, one_of), Claim) for one_of in group)


def test_a_listener_that_fails_fails_no_pass(here: Services, photo: Artifact) -> None:
    def broken_listener(event: Event) -> None:
        raise ValueError("cannot print this")

    with listening(broken_listener):
        assert one(here, request(photo)).disposition == "executed"


def test_a_refresh_by_place_makes_that_place_anew_and_no_other(here: Services, photo: Artifact) -> None:
    one(here, request(photo))
    again = run_pass(here, [request(photo, job="b", at=at, refresh=("second",)) for at in ("first", "second")])
    assert [outcome.value().disposition for outcome in again] == ["reused", "executed"]


def test_a_request_with_another_passs_parameters_is_refused(here: Services, photo: Artifact) -> None:
    wrong = PassRequest(job=request(photo).job, at="add", position=1, pass_name="add", params=PassParams(),
                        inputs={"photo": photo})
    with pytest.raises(TypeError, match="takes AddParams, got PassParams"):
        one(here, wrong)


def test_a_request_with_the_wrong_roles_is_refused(here: Services, photo: Artifact) -> None:
    wrong = PassRequest(job=request(photo).job, at="add", position=1, pass_name="add", params=AddParams(),
                        inputs={"foto": photo})
    with pytest.raises(TypeError, match=r"the pass add takes \('photo',\).*got \['foto'\]"):
        one(here, wrong)


def test_a_long_pass_keeps_its_lease(here: Services, photo: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 3 s, renewed every second, while the pass takes 4.5 s and another worker asks all the time."""
    monkeypatch.setattr(sys.modules["backlot_toys"], "slow", _very_slow)
    module.resolve_function.cache_clear()
    short = Services(settings=here.settings.model_copy(update={"lease_seconds": 3}))
    found: list[Any] = []
    threads = [Thread(target=lambda job=job: found.append(one(short, request(photo, "slow", job=job)))) for job in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    module.resolve_function.cache_clear()
    assert sorted(result.disposition for result in found) == ["executed", "reused"]
    assert ToyLog.calls == ["add 1"]


def _very_slow(params: AddParams, context: PassContext, *, photo: Picture) -> Picture:
    time.sleep(4.5)
    return add(params, context, photo=photo)


def test_refresh_makes_a_new_generation_once_a_job(here: Services, photo: Artifact) -> None:
    one(here, request(photo))
    fresh = request(photo, job="b", refresh=("add",))
    assert one(here, fresh).disposition == "executed"
    assert one(here, fresh).disposition == "reused"  # the job resumed: it has refreshed already
    assert one(here, request(photo)).made_by == "b"
    assert [row.generation for row in here.lineage.passes("b")] == [2]


def test_a_profile_without_the_weights_is_one_clear_error(here: Services, photo: Artifact) -> None:
    with pytest.raises(WeightsError, match="profile='tiny': has no weights for dragon, which the pass needy needs"):
        one(here, request(photo, "needy"))


def test_what_ran_is_recorded(here: Services, photo: Artifact) -> None:
    one(here, request(photo))
    row = here.lineage.passes("a")[0]
    assert (row.pass_name, row.generation, row.inputs, row.params) == ("add", 1, {"photo": photo.digest}, {"amount": 1})
    assert (row.model_calls, row.device, row.dtype) == (1, "cpu", "float32")
