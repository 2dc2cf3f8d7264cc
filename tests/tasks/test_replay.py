"""Replaying a job of toy passes: each verdict, and what is said with it."""

import json
import sys

import numpy as np
import pytest
from sqlalchemy import update
from toy_replay import AddParams, Toy, changed, everything, open_job, output, path, replay, run, verdicts

from flows.runner import Runner
from models.errors import InputError, WeightsError
from models.passes import PassSpec
from models.profiles import ModelSpec
from models.weights import PinnedModel
from models.zoo import Zoo
from storage.records import Artifact
from storage.tables import cache_key_part, environment, pass_execution
from tasks import replay_changes, work
from tasks.requests import JobRef, PassRequest
from tasks.run_pass import run_pass
from tasks.services import Services

pytest_plugins = ["toy_replay"]

EQUAL = {"first": "bit-equal", "extra": "skipped", "middle": "bit-equal", "last": "bit-equal"}


def test_a_job_is_bit_equal_at_every_place_and_nothing_is_written(here: Services) -> None:
    run(here)
    before = everything(here)
    assert len(before[0]["pass_execution"]) == 3
    assert len(before[1]) == 4
    found = replay(here)
    assert verdicts(found) == EQUAL
    assert everything(here) == before
    first = found["first"]
    assert first.key[0] == first.key[1] is not None
    assert first.digest[0] == first.digest[1] is not None
    assert first.version == (1, 1)
    assert (first.changes, first.said, first.pictures) == ((), (), None)


def test_of_a_reused_place_the_row_knows_who_made_it_and_it_is_made_again(here: Services) -> None:
    run(here, "job")
    run(here, "other")
    found = replay(here, "other")
    assert verdicts(found) == EQUAL
    recorded = found["first"].place.recorded
    assert recorded is not None
    assert (recorded.row.disposition, recorded.row.made_by_job) == ("reused", "job")
    assert found["first"].seconds > 0


def test_a_pass_whose_pixels_moved_is_found_alone_with_figures(here: Services) -> None:
    run(here)
    Toy.off = lambda photo: np.array([[[4 if (x, y) == (2, 5) else 0] * 3 for x in range(6)] for y in range(8)])
    found = replay(here, at=["first", "middle"])
    assert verdicts(found) == {"first": "differs", "middle": "bit-equal"}
    apart = found["first"].difference
    assert apart is not None
    assert (apart.most, apart.x, apart.y, apart.share) == (4, 2, 5, 1 / 48)
    assert apart.mean == pytest.approx(4 / 48)
    [said] = found["first"].said
    assert said.startswith("nothing recorded explains it; not known of both runs: ")
    pictures = found["first"].pictures
    assert pictures is not None
    assert pictures.recorded is not None
    assert pictures.replayed.max() == pictures.recorded.max()
    assert found["first"].without_pictures().pictures is None


def test_what_is_recorded_of_the_surroundings_is_compared_with_what_is_here(here: Services) -> None:
    run(here)
    recorded = {**replay_changes.environment(None), "torch": "1.0", "compile": "on"}
    del recorded["pillow"]
    with here.database.write() as connection:
        connection.execute(update(environment).values(versions=recorded))
        connection.execute(update(pass_execution).values(device="cuda", dtype="bfloat16", notes=["no upscaler"]))
    Toy.off = lambda photo: 1
    found = replay(here)
    now = replay_changes.environment(None)["torch"]
    assert changed(found["first"]) == {
        "device": ("cuda", "cpu"), "dtype": ("bfloat16", "float32"), "notes": (["no upscaler"], []),
        "environment.torch": ("1.0", now)}
    assert found["first"].said == ()
    assert found["middle"].verdict == "bit-equal"
    assert changed(found["middle"])["environment.torch"] == ("1.0", now)


def test_where_nothing_known_differs_the_rest_is_said_to_be_unknown(here: Services) -> None:
    run(here)
    recorded = {**replay_changes.environment(None), "compile": "on"}
    del recorded["processor"]
    with here.database.write() as connection:
        connection.execute(update(environment).values(versions=recorded))
    Toy.off = lambda photo: 1
    assert replay(here)["first"].said == (
        "nothing recorded explains it; not known of both runs: compile, processor, drivers, settings of the libraries",)


def test_another_number_of_threads_is_named(here: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    before = torch.get_num_threads()
    run(here)
    Toy.off = lambda photo: 1
    torch.set_num_threads(before + 1)
    try:
        one = replay(here)["first"]
    finally:
        torch.set_num_threads(before)
    assert changed(one) == {"environment.threads": (str(before), str(before + 1))}


def test_a_result_made_in_a_batch_names_the_batch_where_it_differs_alone(here: Services) -> None:
    photo = open_job(here, "job")
    Toy.batched = 1
    ref = JobRef(job_id="job", pipeline="toy", profile="tiny")
    for one in run_pass(here, [
            PassRequest(job=ref, at=at, position=position, pass_name="add", params=AddParams(amount=amount),
                        inputs={"photo": photo}) for position, (at, amount) in enumerate((("one", 1), ("two", 2)))]):
        one.value()

    def both(runner: Runner, photo: Artifact) -> Artifact:
        runner.run("add", AddParams(amount=1), at="one", photo=photo)
        return runner.run("add", AddParams(amount=2), at="two", photo=photo)

    found = replay(here, steps=both)
    assert verdicts(found) == {"one": "differs", "two": "differs"}
    assert [changed(one) for one in found.values()] == [{"batch_size": (2, 1)}] * 2


def test_an_older_version_is_not_replayed_unless_asked_for(here: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    run(here)
    spec = work.PASSES["double"]
    monkeypatch.setitem(work.PASSES, "double", PassSpec(**{**vars(spec), "version": 3}))  # type: ignore[index]
    one = replay(here)["middle"]
    assert (one.verdict, one.version, one.seconds) == ("not replayed", (1, 3), 0)
    [said] = one.said
    assert "version 1 of double, this code has version 3" in said
    assert replay_changes.environment(None)["backlot"] in said
    anyway = replay(here, anyway=True)["middle"]
    assert (anyway.verdict, changed(anyway)) == ("bit-equal", {"version": (1, 3)})
    assert anyway.key[0] != anyway.key[1]


def test_a_lost_input_is_the_one_that_this_replay_made_again(here: Services) -> None:
    run(here)
    path(here, output(here, "first")).unlink()
    before = everything(here)
    found = replay(here)
    assert verdicts(found) == EQUAL
    [said] = found["middle"].said
    assert "input photo are lost" in said
    assert "bit-equal" in said
    assert everything(here) == before


def test_what_rests_on_a_remade_input_that_differs_says_so(here: Services) -> None:
    run(here)
    path(here, output(here, "first")).unlink()
    Toy.off = lambda photo: 1
    found = replay(here)
    assert verdicts(found) == {**EQUAL, "first": "differs", "middle": "differs", "last": "differs"}
    assert "so how far it is off cannot be measured" in found["first"].said[0]
    assert found["first"].difference is None
    assert found["first"].pictures is not None
    assert found["first"].pictures.recorded is None
    assert found["middle"].said[0].startswith("it rests on a remade input")
    assert found["middle"].difference is not None
    assert found["middle"].difference.most == 2
    assert not any("remade" in said for said in found["last"].said)


def test_a_lost_input_that_was_not_made_again_is_one_clear_line(here: Services) -> None:
    run(here)
    path(here, output(here, "first")).unlink()
    [one] = replay(here, at=["middle"]).values()
    assert one.verdict == "not replayed"
    assert output(here, "first").digest in one.said[0]
    assert one.error is not None
    assert one.error["field"] == "artifact"


def test_a_lost_photo_stops_its_own_place_only_and_damaged_bytes_stay_where_they_lie(here: Services) -> None:
    run(here)
    photo = path(here, here.lineage.sources("job")[-1].artifact)
    photo.write_bytes(b"rot")
    before = everything(here)
    found = replay(here)
    assert verdicts(found) == {**EQUAL, "first": "not replayed"}
    assert "bytes are damaged" in found["first"].said[0]
    assert everything(here) == before
    assert photo.read_bytes() == b"rot"


def pins(here: Services, digest: str | None) -> None:
    model = PinnedModel(spec=ModelSpec(name="scale", kind="depth", source="tiny"), digest=digest or "", sha256={})
    here.__dict__["pins"] = here._pins["tiny"] = {"scale": model} if digest else {}


def weigh(runner: Runner, photo: Artifact) -> Artifact:
    return runner.run("weighed", AddParams(), photo=photo)


def test_changed_weights_are_named_and_missing_ones_cannot_be_replayed(here: Services) -> None:
    pins(here, "a" * 64)
    here.__dict__["zoo"] = Zoo(load=lambda model, device, dtype: [model.digest])
    run(here, steps=weigh)
    assert verdicts(replay(here, steps=weigh)) == {"weighed": "bit-equal"}
    pins(here, "b" * 64)
    one = replay(here, steps=weigh)["weighed"]
    assert changed(one) == {"weights.scale": ("a" * 64, "b" * 64)}
    assert one.said == ()
    pins(here, None)
    one = replay(here, steps=weigh)["weighed"]
    assert one.verdict == "not replayed"
    assert one.error is not None
    assert one.error["type"] == WeightsError.__name__
    assert "scale" in one.said[0]


def test_a_key_that_is_computed_otherwise_is_told_although_the_pixels_are_equal(
        here: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    run(here)
    monkeypatch.setattr(AddParams, "added_later", {})
    one = replay(here)["first"]
    assert one.verdict == "bit-equal"
    assert changed(one) == {"params.added": (None, 0)}
    assert one.said == ("its key is computed otherwise now, so no job would reuse this result",)


def test_the_same_parts_spelt_into_another_key_are_told(here: Services) -> None:
    run(here)
    with here.database.write() as connection:
        connection.execute(update(pass_execution).where(pass_execution.c.pass_name == "double").values(key="f" * 64))
        connection.execute(update(cache_key_part).where(
            cache_key_part.c.key == here.lineage.passes("job")[2].key).values(key="f" * 64))
    one = replay(here)["middle"]
    assert (one.verdict, one.key[0], one.changes) == ("bit-equal", "f" * 64, ())
    assert one.said == ("its key is computed otherwise now, so no job would reuse this result",)


def test_a_pass_that_raises_is_its_places_verdict_and_the_next_are_replayed(here: Services) -> None:
    run(here)
    Toy.raised = InputError("is unlucky", field="amount", value=13, remedy="Take another")
    found = replay(here)
    assert verdicts(found) == {**EQUAL, "first": "failed", "last": "failed"}
    assert found["first"].said == ("InputError: amount=13: is unlucky. Take another",)
    assert found["first"].error is not None
    assert found["first"].error["field"] == "amount"
    assert json.dumps(found["first"].error)


def test_of_an_unfinished_job_what_it_has_is_replayed_and_the_rest_was_never_reached(here: Services) -> None:
    run(here, stop="last")
    assert verdicts(replay(here)) == {**EQUAL, "last": "not reached"}
    run(here, "early", stop="first")
    assert verdicts(replay(here, "early")) == dict.fromkeys(("first", "extra", "middle", "last"), "not reached")


def test_an_order_that_changed_since_is_told_place_by_place(here: Services) -> None:
    run(here)

    def other(runner: Runner, photo: Artifact) -> Artifact:
        runner.skip("add", "no longer wanted", at="first")
        runner.run("add", AddParams(), at="extra", photo=photo)
        runner.run("double", AddParams(), at="middle", photo=photo)
        return runner.run("double", AddParams(), at="last", photo=photo)

    found = replay(here, steps=other)
    assert verdicts(found) == {"first": "not replayed", "extra": "not replayed", "middle": "bit-equal",
                               "last": "not replayed"}
    assert "the pipeline leaves it out now: no longer wanted" in found["first"].said
    assert "would run it now" in found["extra"].said[0]
    photo = here.lineage.sources("job")[-1].artifact.digest
    assert changed(found["middle"]) == {"inputs.photo": (output(here, "first").digest, photo)}
    assert "version 1 of add, this code has version 1 of double" in found["last"].said[-1]


def test_another_shape_is_told_in_words(here: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    run(here)
    monkeypatch.setattr(sys.modules["backlot_replays"], "double", lambda params, context, photo: photo[:4])
    work.resolve_function.cache_clear()
    try:
        one = replay(here)["middle"]
    finally:
        work.resolve_function.cache_clear()
    assert (one.verdict, one.difference) == ("differs", None)
    assert "its shape was 6 x 8 x 3 and is 6 x 4 x 3 (width x height x channels)" in one.said


def test_equal_pixels_under_another_encoder_are_bit_equal(here: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    import cv2

    run(here)
    monkeypatch.setattr("models.pictures._PNG_FLAGS", [cv2.IMWRITE_PNG_COMPRESSION, 9])
    found = replay(here)
    assert verdicts(found) == EQUAL
    assert found["first"].digest[0] != found["first"].digest[1]
    assert found["first"].said == ("the same pixels, written as other bytes: the PNG encoder is another",)
