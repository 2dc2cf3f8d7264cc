"""Repair heals every planted fault it can, and no last good copy of anything is ever gone afterwards."""

import shutil
from pathlib import Path

import pytest
from kept import JOB, ON_A_DISK_ONLY, OUT_OF_REACH, PLANTS, Kept, png
from kept_repair import check, heal
from sqlalchemy import select

from models.pictures import with_png_text
from storage.digests import sha256_hex
from storage.errors import DatabaseUnavailable, StoreUnavailable
from storage.records import Artifact, Execution
from storage.repair import repair
from storage.tables import job

pytest_plugins = ["store_fixtures", "kept_fixtures"]

HOPELESS = {"unhinge", "forget_the_key", "forget_every_part", "succeed_twice", "drop_a_stranger", "misplace",
            "forget_the_inputs", "swap_an_input", "add_an_input", "forget_the_weights", "swap_the_weights",
            "rename_the_pass", "raise_the_version", "deliver_out_of_reach"}
"""Faults that only a person can mend: what the database forgot, and files that are not ours."""


def run_again(kept: Kept) -> None:
    """The job again, as far as it is needed: the photo is read, the pass reused or made, the picture delivered."""
    kept.store.put(png(1), media_type="image/png", width=64, height=48)
    kept.ledger.observe_source(JOB, "file:///a.jpg", "9-1", 9, 1.5, "0" * 64, kept.photo, "decoder-1")
    made = kept.ledger.claim(kept.parts, job_id=JOB, worker="look", lease_seconds=0)
    if isinstance(made, Execution):
        kept.ledger.rest_on(JOB, "mix", 1, made, "known")
    else:
        kept.set_lease(1)
        kept.make()
    kept.deliver()
    kept.ledger.close_job(JOB, "completed")


def contents(kept: Kept) -> set[str]:
    """Every distinct content of a file, in the store and among what is delivered."""
    return {sha256_hex(place.read(name)) for place in (kept.at, kept.delivered_at) for name in place.names()}


@pytest.mark.parametrize("plant", [plant for plant in PLANTS if plant not in {*HOPELESS, "lose_photo"}])
def test_what_is_repaired_is_clean_and_nothing_is_gone_but_half_a_draft(kept_anywhere: Kept, plant: str) -> None:
    kept = kept_anywhere
    if plant in ON_A_DISK_ONLY and kept.at.endpoint is not None:
        return
    getattr(kept, plant)()
    before = contents(kept)
    done = heal(kept)
    assert [one.healed for one in done] == [True] * max(len(done), 1)
    assert check(kept).faults == ()
    assert before - contents(kept) <= {sha256_hex(png(2)[:100])}
    run_again(kept)
    assert check(kept).faults == ()
    assert kept.store.get(kept.made.digest) == png(2)


@pytest.mark.parametrize("plant", sorted(HOPELESS))
def test_what_cannot_be_repaired_is_left_as_it_is(kept: Kept, plant: str) -> None:
    kind, _ = getattr(kept, plant)()
    before = contents(kept)
    assert kind not in {one.finding.kind for one in heal(kept)}
    assert kind in {one.kind for one in check(kept).faults}
    assert contents(kept) == before


def test_lost_bytes_without_a_copy_are_declared_lost(kept: Kept) -> None:
    kept.take_the_delivery_away()
    kept.flip_a_bit()
    done = {one.finding.kind: one.done for one in heal(kept)}
    assert done["damaged"] == "moved to quarantine; declared lost: the next run makes it anew"
    assert done["undelivered"] == "left: its picture is not in the store; run the job again"
    run_again(kept)
    assert check(kept).faults == ()


def test_a_copy_in_quarantine_is_put_back(kept: Kept) -> None:
    """As after a kill between the two moves of storage.files.set_aside."""
    kept.take_the_delivery_away()
    kept.at.remove(kept.name(kept.made))
    kept.plant(f"quarantine/{kept.made.digest}.{'0' * 64}", png(2))
    assert "put back from quarantine/" in {one.finding.kind: one.done for one in heal(kept)}["missing"]
    assert check(kept).faults == ()


def test_damaged_bytes_in_quarantine_are_not_put_back(kept: Kept) -> None:
    kept.take_the_delivery_away()
    kept.at.remove(kept.name(kept.made))
    kept.plant(f"quarantine/{kept.made.digest}.{'0' * 64}", png(3))
    assert "declared lost" in {one.finding.kind: one.done for one in heal(kept)}["missing"]
    assert not kept.store.intact(kept.made.digest)


def test_a_photo_is_put_back_from_what_was_delivered_in_debug_mode(kept: Kept) -> None:
    kept.deliver(role="photo", made=kept.photo)
    kept.lose_photo()
    assert [one.done for one in heal(kept)] == [f"put back from {kept.delivered_at.uri(f'{JOB}/photo.png')}"]
    assert check(kept).faults == ()


def test_a_photo_without_a_copy_stays_a_fault_until_its_job_runs_again(kept: Kept) -> None:
    kept.lose_photo()
    assert [one.healed for one in heal(kept)] == [False]
    run_again(kept)
    assert check(kept).faults == ()


def test_a_draft_that_is_the_last_good_copy_becomes_the_object(kept: Kept) -> None:
    kept.take_the_delivery_away()
    kept.at.remove(kept.name(kept.made))
    kept.plant(f"{kept.name(kept.made)}.{'0' * 32}.draft", png(2))
    heal(kept)
    assert kept.at.read(kept.name(kept.made)) == png(2)
    assert check(kept).faults == ()


def test_a_whole_draft_that_no_row_names_goes_to_trash_and_not_away(kept: Kept) -> None:
    digest = sha256_hex(png(77))
    kept.plant(f"sha256/{digest[:2]}/{digest}.{'0' * 32}.draft", png(77))
    heal(kept)
    assert kept.at.read(f"trash/{digest}") == png(77)


def test_a_half_delivery_that_is_the_last_good_copy_goes_to_trash_and_not_away(kept: Kept) -> None:
    kept.take_the_delivery_away()
    kept.at.remove(kept.name(kept.made))
    kept.delivered_at.write(f"{JOB}/final.png.{'0' * 32}.draft",
                            with_png_text(png(2), {"backlot:artifact": kept.made.digest}))
    heal(kept)
    assert kept.at.read(f"trash/{kept.made.digest}") == png(2)


def test_an_old_report_harms_nothing_that_is_whole_by_now(kept: Kept) -> None:
    kept.flip_a_bit()
    findings = check(kept).faults
    kept.at.write(kept.name(kept.made), png(2))
    assert [one.done for one in heal(kept, findings)] == ["it is whole by now"]
    assert isinstance(kept.ledger.claim(kept.parts, job_id=JOB, worker="x", lease_seconds=60), Execution)


def test_what_lay_at_a_deliverys_place_is_kept(kept: Kept) -> None:
    """A person may have retouched it."""
    kept.replace_the_delivery()
    retouched = kept.delivered_at.read(f"{JOB}/final.png")
    heal(kept)
    assert kept.at.read(f"trash/{sha256_hex(retouched)}") == retouched
    assert check(kept).faults == ()


def test_an_old_report_does_not_deliver_an_old_picture_over_a_new_one(kept: Kept) -> None:
    kept.take_the_delivery_away()
    findings = check(kept).faults
    kept.deliver(made=kept.store.put(png(9), media_type="image/png", width=64, height=48))
    new = kept.delivered_at.read(f"{JOB}/final.png")
    assert [one.done for one in heal(kept, findings)] == ["another picture was delivered there since"]
    assert kept.delivered_at.read(f"{JOB}/final.png") == new
    assert check(kept).faults == ()


def test_a_repair_that_fails_is_told_and_keeps_none_of_the_others_from_being_done(kept_anywhere: Kept) -> None:
    kept = kept_anywhere
    kept.take_the_delivery_away()
    kept.leave_a_draft()
    kept.deliver(role="photo", made=kept.photo)
    kept.delivered_at.remove(f"{JOB}/photo.png")

    def redeliver(job_id: str, role: str, made: Artifact) -> str:
        if role == "final":
            raise IsADirectoryError(f"Is a directory:\n {role}.png")
        return kept.deliver(job_id, role, made)

    done = list(repair(check(kept).faults, kept.database, kept.settings, redeliver))
    assert sorted((one.finding.kind, one.done, one.healed) for one in done) == [
        ("stale_draft", "removed", True), ("undelivered", "delivered again", True),
        ("undelivered", "it failed (IsADirectoryError: Is a directory: final.png)", False)]
    assert [one.kind for one in check(kept).faults] == ["undelivered"]


@pytest.mark.parametrize("error", [StoreUnavailable("outputs_url", "s3://shop", "put_object tried 5 times"),
                                   DatabaseUnavailable("sqlite://", "8 tries"), KeyboardInterrupt()])
def test_what_would_fail_for_every_finding_ends_the_repair(kept: Kept, error: BaseException) -> None:
    def redeliver(job_id: str, role: str, made: Artifact) -> str:
        raise error

    kept.take_the_delivery_away()
    with pytest.raises(type(error)):
        list(repair(check(kept).faults, kept.database, kept.settings, redeliver))


def test_bytes_are_put_back_although_one_of_their_deliveries_is_out_of_reach(kept: Kept) -> None:
    kept.deliver(role="a_copy")
    kept.ledger.record_output(JOB, "final", kept.made, OUT_OF_REACH)
    kept.lose_bytes()
    assert [one.done for one in heal(kept)] == [f"put back from {kept.delivered_at.uri(f'{JOB}/a_copy.png')}"]


def test_what_lay_at_a_deliverys_place_and_cannot_be_kept_is_not_replaced(kept: Kept) -> None:
    kept.replace_the_delivery()
    findings = check(kept).faults
    path = Path(kept.delivered_at.url) / JOB
    shutil.move(path, path.with_name("aside"))
    path.write_bytes(b"a file in its place")
    assert [one.healed for one in heal(kept, findings)] == [False]
    assert path.read_bytes() == b"a file in its place"


def test_a_job_that_forgot_its_passes_may_be_run_again(kept: Kept) -> None:
    kept.forget_the_passes()
    heal(kept)
    with kept.database.read() as connection:
        row = connection.execute(select(job.c.state, job.c.error)).one()
    assert row.state == "interrupted"
    assert row.error["message"] == "it had ended well, but it rests on no pass; set so by backlot verify --repair"


def test_an_unfinished_job_may_be_run_again(kept: Kept) -> None:
    kept.forget_the_delivery()
    heal(kept)
    with kept.database.read() as connection:
        assert connection.exec_driver_sql("SELECT state FROM job").scalar() == "interrupted"
