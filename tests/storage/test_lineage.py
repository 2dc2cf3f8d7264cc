"""Questions, asked of a small history: two products, a changed parameter, a changed photo, a refresh, lost bytes."""

from typing import Any

import pytest

from storage.errors import JobNotFound, OutputNotFound
from storage.lineage import Change, Node
from storage.records import ModelFile


def run_job(world: Any, job_id: str, *, photo: str = "photo", scale: float = 0.5, strength: float = 0.8,
            refresh: bool = False) -> None:
    """photo -> cut_out -> place -> first -> second -> mix, where a strength of 0 gives back what came in."""
    world.job(job_id, photo)
    cut = world.parts("cut_out", inputs={"photo": photo})
    product = f"product of {photo}"
    world.run(cut, product, job_id, position=1, role="product")
    placed = f"placed {photo}"
    world.run(world.parts("place", inputs={"product": product}), placed, job_id, position=2, role="placed")
    first = f"scene of {photo}" if strength else placed
    world.run(world.parts("sdxl", inputs={"placed": placed}, strength=strength, seed=7, weights={"sdxl": "w"}), first,
              job_id, at="first", position=3, role="scene")
    second = f"second of {first}" if strength else first
    world.run(world.parts("sdxl", inputs={"placed": placed, "scene": first}, strength=strength, seed=8,
                          weights={"sdxl": "w"}), second, job_id, at="second", position=4, role="scene")
    world.ledger.skip(job_id, "relight", 5, "relight", "skip_light_pass is set")
    lit = f"lit {scale} {second}"
    world.run(world.parts("mix", inputs={"placed": placed, "scene": second}, light_mix_scale=scale), lit, job_id,
              position=6, role="lit", refresh=refresh)
    world.ledger.record_output(job_id, "final", world.artifact(lit), f"s3://out/{job_id}/final.png")
    world.ledger.close_job(job_id, "completed")


def why(world: Any, job_id: str) -> dict[str, Any]:
    return {row.at: row for row in world.lineage.why(job_id)}


def shape(node: Node) -> dict[str, Any]:
    """{role: {input role: …}} with the pass (its place in the job) that made it."""
    maker = node.made_by.at if node.made_by else ("file" if node.source else None)
    return {f"{node.role} by {maker}": [shape(below) for below in node.inputs.values()]}


def test_the_passes_of_a_job_come_in_order_with_all_that_made_them(world: Any) -> None:
    run_job(world, "job-1")
    rows = world.lineage.passes("job-1")
    assert [row.at for row in rows] == ["cut_out", "place", "first", "second", "relight", "mix"]
    assert [row.disposition for row in rows] == ["executed"] * 4 + ["skipped", "executed"]
    second = rows[3]
    assert (second.pass_name, second.position, second.generation, second.made_by_job) == ("sdxl", 4, 1, "job-1")
    assert second.params == {"strength": 0.8, "seed": 8}
    assert second.inputs == {"placed": world.digest("placed photo"), "scene": world.digest("scene of photo")}
    assert second.outputs == {"scene": world.artifact("second of scene of photo")}
    assert second.weights == {"sdxl": world.digest("w")}
    assert (second.seconds, second.device, second.dtype) == (1.5, "cpu", "float32")


def test_a_job_that_reuses_everything_names_who_made_it(world: Any) -> None:
    run_job(world, "job-1")
    run_job(world, "job-2")
    made = {row.at: (row.disposition, row.made_by_job) for row in world.lineage.passes("job-2")}
    assert made == {**dict.fromkeys(["cut_out", "place", "first", "second", "mix"], ("reused", "job-1")),
                    "relight": ("skipped", None)}


def test_why_names_the_one_parameter_that_changed(world: Any) -> None:
    run_job(world, "job-1", scale=0.5)
    run_job(world, "job-2", scale=0.7)
    answers = why(world, "job-2")
    assert answers["mix"].changes == (Change(part="params.light_mix_scale", before=0.5, after=0.7),)
    assert (answers["mix"].disposition, answers["mix"].nearest_job) == ("executed", "job-1")
    assert {at: answer.made_by_job for at, answer in answers.items() if answer.disposition == "reused"} == {
        "cut_out": "job-1", "place": "job-1", "first": "job-1", "second": "job-1"}
    assert (answers["relight"].disposition, answers["relight"].reason) == ("skipped", "skip_light_pass is set")


def test_why_compares_with_the_nearest_and_not_with_the_last(world: Any) -> None:
    run_job(world, "job-1", photo="mug", scale=0.5)
    run_job(world, "job-2", photo="shoe", scale=0.9)
    run_job(world, "job-3", photo="mug", scale=0.6)
    assert why(world, "job-3")["mix"].nearest_job == "job-1"
    assert [change.part for change in why(world, "job-3")["mix"].changes] == ["params.light_mix_scale"]


def test_of_equally_near_ones_why_takes_the_latest(world: Any) -> None:
    for job_id, scale in (("job-1", 0.5), ("job-2", 0.6), ("job-3", 0.7)):
        run_job(world, job_id, scale=scale)
    assert why(world, "job-3")["mix"].changes == (Change(part="params.light_mix_scale", before=0.6, after=0.7),)


def test_why_looks_back_in_time_only(world: Any) -> None:
    run_job(world, "job-1", scale=0.5)
    run_job(world, "job-2", scale=0.7)
    assert why(world, "job-1")["mix"].nearest_job is None
    assert why(world, "job-1")["mix"].changes == ()


def test_why_follows_a_changed_photo_down_the_passes(world: Any) -> None:
    run_job(world, "job-1", photo="mug")
    run_job(world, "job-2", photo="shoe")
    answers = why(world, "job-2")
    assert answers["cut_out"].changes == (
        Change(part="inputs.photo", before=world.digest("mug"), after=world.digest("shoe")),)
    assert [change.part for change in answers["second"].changes] == ["inputs.placed", "inputs.scene"]


def test_a_reused_pass_names_its_job_and_no_changes(world: Any) -> None:
    for job_id, scale in (("job-1", 0.5), ("job-2", 0.7), ("job-3", 0.7)):
        run_job(world, job_id, scale=scale)
    answer = why(world, "job-3")["mix"]
    assert (answer.disposition, answer.made_by_job, answer.nearest_job, answer.changes) == ("reused", "job-2", None, ())


def test_another_pass_is_no_result_to_compare_with(world: Any) -> None:
    world.job("job-1")
    world.run(world.parts("place", scale=1), "placed", "job-1")
    world.run(world.parts("mix", scale=1), "lit", "job-1", position=2)
    assert why(world, "job-1")["mix"].nearest_job is None
    world.job("job-2")
    world.run(world.parts("outpaint", scale=1), "map", "job-2")
    assert why(world, "job-2")["outpaint"].nearest_job is None


def test_the_second_pass_is_not_explained_by_the_first_of_its_own_job(world: Any) -> None:
    run_job(world, "job-1")
    assert why(world, "job-1")["second"].nearest_job is None
    run_job(world, "job-2", strength=0.9)
    assert [change.part for change in why(world, "job-2")["second"].changes] == ["params.strength"]


def test_a_part_that_is_new_or_gone_is_a_change_too(world: Any) -> None:
    world.job("job-1")
    world.job("job-2")
    world.run(world.parts("mix", version=1, old=True, flag=1), "a", "job-1")
    world.run(world.parts("mix", version=2, new=[1, 2], flag=True), "b", "job-2")
    assert why(world, "job-2")["mix"].changes == (
        Change(part="version", before=1, after=2), Change(part="params.flag", before=1, after=True),
        Change(part="params.new", before=None, after=[1, 2]), Change(part="params.old", before=True, after=None))


def test_the_nearest_is_counted_over_missing_shared_and_additional_parts(world: Any) -> None:
    for job_id in ("job-1", "job-2", "job-3", "job-4"):
        world.job(job_id)
    world.run(world.parts("mix", a=1, b=2, c=3, d=4, e=5), "1", "job-1")  # two parts more
    world.run(world.parts("mix", a=1), "2", "job-2")  # two parts less
    world.run(world.parts("mix", a=1, b=2, c=9), "3", "job-3")  # one other value
    world.run(world.parts("mix", a=1, b=2, c=3), "4", "job-4")
    assert why(world, "job-4")["mix"].nearest_job == "job-3"
    world.job("job-5")
    world.run(world.parts("mix", a=1, b=2, c=3, d=4), "5", "job-5")  # one part less than job-1, one more than job-4
    assert why(world, "job-5")["mix"].nearest_job == "job-4"


def test_the_same_key_made_anew_has_no_changes(world: Any) -> None:
    run_job(world, "job-1")
    run_job(world, "job-2", refresh=True)
    answer = why(world, "job-2")["mix"]
    assert (answer.disposition, answer.nearest_job, answer.changes) == ("executed", "job-1", ())
    assert world.lineage.passes("job-2")[-1].generation == 2


def test_failed_attempts_are_no_results_to_compare_with(world: Any) -> None:
    world.job("job-1")
    world.ledger.fail(world.claim(world.parts("mix", scale=1)), "bug", "no")
    world.job("job-2")
    world.run(world.parts("mix", scale=2), "lit", "job-2")
    assert why(world, "job-2")["mix"].nearest_job is None


def test_ancestry_goes_down_to_the_file_that_was_read(world: Any) -> None:
    run_job(world, "job-1")
    tree = world.lineage.ancestry("job-1")
    photo = {"photo by file": []}
    placed = {"placed by place": [{"product by cut_out": [photo]}]}
    assert shape(tree) == {"final by mix": [placed, {"scene by second": [placed, {"scene by first": [placed]}]}]}
    assert tree.artifact == world.artifact("lit 0.5 second of scene of photo")
    product = tree.inputs["placed"].inputs["product"]
    assert product.artifact == world.artifact("product of photo")
    source = product.inputs["photo"].source
    assert source is not None
    assert (source.uri, source.source_digest) == ("s3://in/photo.jpg", world.digest("photo.jpg"))
    assert source.reader == "decoder-1"


def test_ancestry_is_the_same_for_a_job_that_reused_it_all(world: Any) -> None:
    run_job(world, "job-1")
    run_job(world, "job-2")
    assert shape(world.lineage.ancestry("job-2")) == shape(world.lineage.ancestry("job-1"))
    assert world.lineage.ancestry("job-2").made_by.made_by_job == "job-1"


def test_ancestry_tells_passes_apart_that_made_the_same_bytes(world: Any) -> None:
    run_job(world, "job-1", strength=0)
    placed = {"placed by place": [{"product by cut_out": [{"photo by file": []}]}]}
    assert shape(world.lineage.ancestry("job-1")) == {
        "final by mix": [placed, {"scene by second": [placed, {"scene by first": [placed]}]}]}


def test_ancestry_keeps_to_the_job_where_two_jobs_made_the_same_bytes(world: Any) -> None:
    run_job(world, "job-1", photo="mug")
    world.job("job-2", "shoe")
    lit = "lit 0.5 second of scene of mug"
    world.run(world.parts("mix", inputs={"photo": "shoe"}), lit, "job-2", role="lit")
    world.ledger.record_output("job-2", "final", world.artifact(lit), "s3://out/job-2/final.png")
    assert shape(world.lineage.ancestry("job-2")) == {"final by mix": [{"photo by file": []}]}
    assert world.lineage.ancestry("job-2").inputs["photo"].source.uri == "s3://in/shoe.jpg"


def test_a_delivered_intermediate_is_the_pass_it_is_named_after(world: Any) -> None:
    run_job(world, "job-1", strength=0)
    for role in ("first", "second", "photo"):
        world.ledger.record_output("job-1", role, world.artifact("photo" if role == "photo" else "placed photo"), role)
    assert world.lineage.ancestry("job-1", "first").made_by.at == "first"
    assert world.lineage.ancestry("job-1", "second").made_by.at == "second"
    assert world.lineage.ancestry("job-1", "photo").source.uri == "s3://in/photo.jpg"


def test_a_role_that_was_not_delivered_is_an_error_that_lists_those_that_were(world: Any) -> None:
    run_job(world, "job-1")
    with pytest.raises(OutputNotFound, match=r"role='depth': job job-1 delivered final\."):
        world.lineage.ancestry("job-1", "depth")


def test_a_delivered_picture_is_found_by_uri_path_and_digest(world: Any) -> None:
    run_job(world, "job-1")
    final = world.artifact("lit 0.5 second of scene of photo")
    for name in ("s3://out/job-1/final.png", final.digest):
        assert world.lineage.find_output(name) == ("job-1", "final", final)


def test_a_local_picture_is_found_by_its_path_from_where_one_stands(
        world: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    world.job()
    world.ledger.record_output("job-1", "final", world.artifact("x"), f"file://{tmp_path}/a b/final.png")
    monkeypatch.chdir(tmp_path)
    for name in ("a b/final.png", f"{tmp_path}/a b/final.png", f"file://{tmp_path}/a b/final.png"):
        assert world.lineage.find_output(name)[0] == "job-1"


def test_a_picture_that_two_jobs_delivered_is_the_later_ones(world: Any) -> None:
    run_job(world, "job-1")
    run_job(world, "job-2")
    assert world.lineage.find_output(world.digest("lit 0.5 second of scene of photo"))[0] == "job-2"


@pytest.mark.parametrize("name", ["s3://out/none.png", "none.png", "0" * 64])
def test_a_picture_nobody_delivered_is_an_error(world: Any, name: str) -> None:
    run_job(world, "job-1")
    with pytest.raises(OutputNotFound, match="no job delivered such a picture"):
        world.lineage.find_output(name)


def test_a_running_job_shows_what_it_has_so_far(world: Any) -> None:
    world.job()
    world.run(world.parts("cut_out"), "product")
    world.claim(world.parts("place", inputs={"product": "product"}))
    assert [row.at for row in world.lineage.passes("job-1")] == ["cut_out"]


def test_what_is_recorded_of_a_pass_is_enough_to_run_it_again(world: Any) -> None:
    run_job(world, "job-1")
    world.ledger.record_model(world.digest("w"), [ModelFile(
        sha256=world.digest("unet"), repo="shop/model", revision=None, path="unet.safetensors", bytes=7, licence="MIT",
        commercial_use="yes")])
    run_job(world, "job-2")
    last = world.parts("upscale", inputs={"lit": "lit 0.5 second of scene of photo"})
    world.commit(world.claim(last, "job-2"), last, "large", "job-2", position=7, environment={"torch": "2.13"})
    rows = world.lineage.recorded("job-2")
    assert [one.row for one in rows] == world.lineage.passes("job-2")
    second = rows[3]
    assert second.pass_version == 1
    assert second.inputs == {"placed": world.artifact("placed photo"), "scene": world.artifact("scene of photo")}
    assert (second.environment, rows[-1].environment) == ({}, {"torch": "2.13"})
    assert second.files == {"sdxl": {"shop/model/unet.safetensors": world.digest("unet")}}
    assert (rows[4].row.disposition, rows[4].pass_version, rows[4].inputs, rows[4].environment) == (
        "skipped", None, {}, {})
    with pytest.raises(JobNotFound):
        world.lineage.recorded("job-3")
