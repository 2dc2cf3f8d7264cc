"""What is remembered of a job besides its passes: what was asked, what was read, what was delivered, how it ended."""

from typing import Any

import pytest
from sqlalchemy import func, select

from storage.errors import JobConflict, JobNotFound
from storage.records import Job, KnownPhoto, ModelFile
from storage.tables import job_output, model_file, source_observation


def count(world: Any, table: Any) -> int:
    with world.database.read() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar()


def test_an_opened_job_runs_and_holds_both_documents(world: Any) -> None:
    new = world.new_job("job-1", requested={"seed": -1, "text": "é"}, resolved={"seed": 7}, flow_run_id="f1")
    job = world.ledger.open_job(new)
    assert job == Job(**vars(new), state="running", created_at=job.created_at)
    assert world.lineage.job("job-1") == job


def test_the_database_tells_the_time(world: Any) -> None:
    import time

    assert abs(world.ledger.open_job(world.new_job("job-1")).created_at - time.time()) < 60


def test_a_job_opened_again_keeps_what_was_resolved_the_first_time(world: Any) -> None:
    first = world.ledger.open_job(world.new_job("job-1", resolved={"seed": 7}, flow_run_id="f1"))
    again = world.ledger.open_job(world.new_job("job-1", resolved={"seed": 8}, flow_run_id="f2"))
    assert again.resolved == {"seed": 7}
    assert again.created_at == first.created_at
    assert again.flow_run_id == "f2"


def test_1_and_1_point_0_are_the_same_document(world: Any) -> None:
    world.ledger.open_job(world.new_job("job-1", requested={"scale": 1, "sizes": [2.0]}))
    assert world.ledger.open_job(world.new_job("job-1", requested={"sizes": [2], "scale": 1.0})).state == "running"


@pytest.mark.parametrize(("fields", "differs"), [
    ({"requested": {"image": "b.jpg"}}, ("image",)), ({"requested": {}}, ("image",)),
    ({"requested": {"image": "a.jpg", "seed": 1, "debug": True}}, ("debug", "seed")),
    ({"profile": "sdxl"}, ("profile",)), ({"pipeline": "dreamo"}, ("pipeline",))])
def test_another_document_under_the_same_id_is_refused(
        world: Any, fields: dict[str, Any], differs: tuple[str, ...]) -> None:
    world.ledger.open_job(world.new_job("job-1"))
    with pytest.raises(JobConflict) as conflict:
        world.ledger.open_job(world.new_job("job-1", **fields))
    assert conflict.value.differs == differs
    assert (conflict.value.field, conflict.value.value) == ("job_id", "job-1")
    assert world.lineage.job("job-1").requested == {"image": "a.jpg"}


def test_a_failed_job_says_why_until_it_runs_again(world: Any) -> None:
    world.ledger.open_job(world.new_job("job-1"))
    world.ledger.close_job("job-1", "failed", {"class": "gpu-oom", "field": None})
    failed = world.lineage.job("job-1")
    assert (failed.state, failed.error) == ("failed", {"class": "gpu-oom", "field": None})
    assert failed.finished_at is not None
    again = world.ledger.open_job(world.new_job("job-1"))
    assert (again.state, again.error, again.finished_at) == ("running", None, None)
    world.ledger.close_job("job-1", "completed")
    assert world.lineage.job("job-1").state == "completed"


def test_what_is_not_there_cannot_be_closed_or_asked_about(world: Any) -> None:
    for ask in (lambda: world.ledger.close_job("job-9", "completed"), lambda: world.lineage.job("job-9"),
                lambda: world.lineage.passes("job-9"), lambda: world.lineage.outputs("job-9"),
                lambda: world.lineage.sources("job-9"), lambda: world.lineage.why("job-9"),
                lambda: world.lineage.ancestry("job-9")):
        with pytest.raises(JobNotFound, match="job-9"):
            ask()


def test_recent_jobs_come_newest_first(world: Any) -> None:
    for number in range(5):
        world.ledger.open_job(world.new_job(f"job-{number}"))
    world.ledger.open_job(world.new_job("job-1"))
    assert [job.job_id for job in world.lineage.jobs(3)] == ["job-4", "job-3", "job-2"]


def test_a_photo_read_before_by_the_same_decoder_is_known(world: Any) -> None:
    world.ledger.open_job(world.new_job("job-1"))
    world.ledger.open_job(world.new_job("job-2"))
    file, photo, better = world.digest("file"), world.artifact("photo"), world.artifact("better photo")
    assert world.ledger.known_source(file, "decoder-1") is None
    world.ledger.observe_source("job-1", "s3://in/a.jpg", "9-1", 9, 1.5, file, photo, "decoder-1")
    assert world.ledger.known_source(file, "decoder-1") == KnownPhoto(artifact=photo)
    assert world.ledger.known_source(file, "decoder-2") is None
    assert world.ledger.known_source(world.digest("other file"), "decoder-1") is None
    world.ledger.observe_source("job-2", "s3://in/a.jpg", "9-1", 9, 1.5, file, better, "decoder-1")
    assert world.ledger.known_source(file, "decoder-1") == KnownPhoto(artifact=better)


def test_what_the_decoder_told_of_a_photo_is_told_again(world: Any) -> None:
    world.ledger.open_job(world.new_job("job-1"))
    file, photo = world.digest("file"), world.artifact("photo")
    for notes in (("no profile: taken for sRGB",), ("a broken profile was left out", "é")):
        world.ledger.observe_source("job-1", "s3://in/a.jpg", "9-1", 9, None, file, photo, "decoder-1", notes)
        assert world.ledger.known_source(file, "decoder-1") == KnownPhoto(artifact=photo, notes=notes)
    assert [source.notes for source in world.lineage.sources("job-1")] == [notes]


def test_reading_the_same_file_again_is_one_observation(world: Any) -> None:
    world.job("job-1")
    world.job("job-1")
    assert count(world, source_observation) == 1
    [source] = world.lineage.sources("job-1")
    assert (source.uri, source.version, source.size, source.mtime) == ("s3://in/photo.jpg", "9-1", 9, 1.5)
    assert (source.source_digest, source.artifact) == (world.digest("photo.jpg"), world.artifact("photo"))


def test_a_delivery_is_remembered_once(world: Any) -> None:
    world.job("job-1")
    for _ in range(2):
        world.ledger.record_output("job-1", "final", world.artifact("final"), "s3://out/final.png")
    assert count(world, job_output) == 1
    assert world.lineage.outputs("job-1") == [("final", world.artifact("final"), "s3://out/final.png")]


def test_only_the_latest_picture_of_a_role_can_be_withdrawn_and_then_nothing_is_delivered(world: Any) -> None:
    world.job("job-1")
    for role, made in (("mix", "m"), ("final", "A"), ("final", "B")):
        world.ledger.record_output("job-1", role, world.artifact(made), f"s3://out/{role}.png")
    assert not world.ledger.withdraw_output("job-1", "final", world.artifact("A"))
    assert [role for role, _, _ in world.lineage.outputs("job-1")] == ["mix", "final"]
    for _ in range(2):
        assert world.ledger.withdraw_output("job-1", "final", world.artifact("B"))
        assert [role for role, _, _ in world.lineage.outputs("job-1")] == ["mix"]


def test_of_a_role_delivered_anew_the_latest_picture_counts(world: Any) -> None:
    def delivered(*pictures: tuple[str, str]) -> list[tuple[str, str]]:
        for role, made in pictures:
            world.ledger.record_output("job-1", role, world.artifact(made), f"s3://out/{role}.png")
        return [(role, artifact.digest) for role, artifact, _ in world.lineage.outputs("job-1")]

    world.job("job-1")
    assert delivered(("final", "A")) == [("final", world.digest("A"))]
    assert delivered(("mix", "m"), ("final", "B")) == [("mix", world.digest("m")), ("final", world.digest("B"))]
    assert delivered(("mix", "m"), ("final", "A")) == [("mix", world.digest("m")), ("final", world.digest("A"))]
    assert world.lineage.find_output("s3://out/final.png") == ("job-1", "final", world.artifact("A"))
    assert world.lineage.find_output(world.digest("B")) == ("job-1", "final", world.artifact("B"))


def test_the_files_of_a_model_are_remembered_once(world: Any) -> None:
    file = ModelFile(sha256="b" * 64, repo="owner/net", revision=None, path="net.safetensors", bytes=9,
                     licence="apache-2.0", commercial_use="yes")
    for _ in range(2):
        world.ledger.record_model("a" * 64, [file])
    world.ledger.record_model("c" * 64, [])
    with world.database.read() as connection:
        [row] = connection.execute(model_file.select())
    assert row._asdict() == {"model_digest": "a" * 64, **vars(file)}


def test_a_run_that_another_has_followed_may_tell_its_success_and_not_its_failure(world: Any) -> None:
    world.ledger.open_job(world.new_job("job-1", flow_run_id="f1"))
    world.ledger.open_job(world.new_job("job-1", flow_run_id="f2"))
    world.ledger.close_job("job-1", "failed", {"message": "late"}, flow_run_id="f1")
    assert world.lineage.job("job-1").state == "running"
    world.ledger.close_job("job-1", "completed", flow_run_id="f1")
    assert world.lineage.job("job-1").state == "completed"
    world.ledger.close_job("job-1", "failed", {"message": "mine"}, flow_run_id="f2")
    assert world.lineage.job("job-1").state == "failed"
