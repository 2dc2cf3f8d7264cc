"""The checker finds every fault that is planted, and nothing where there is none."""

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from kept import JOB, ON_A_DISK_ONLY, PLANTS, Kept, png
from kept_lineage import UNET
from places import Place
from s3 import SLOW_DOWN, proxy
from sqlalchemy import update

from models.pictures import with_png_text
from storage.dialect import now
from storage.errors import StoreUnavailable
from storage.findings import KINDS
from storage.outputs import Outputs
from storage.records import KeyParts, NewJob
from storage.s3 import Patience
from storage.settings import Settings
from storage.tables import cache_key_part
from storage.verify import Report, verify
from storage.verify_rows import LONGEST_LEASE_SECONDS

pytest_plugins = ["store_fixtures", "kept_fixtures"]

NOW = -1.0
"""A grace that is over for everything: an object store's times cannot be set back."""


def check(kept: Kept, **options: Any) -> Report:
    return verify(kept.database, kept.settings, **options)


def test_a_shop_as_it_should_be_has_no_findings(kept_anywhere: Kept) -> None:
    kept = kept_anywhere
    report = check(kept, grace_seconds=NOW)
    assert report.findings == ()
    assert report.counts == {"artifacts": 2, "objects": 2, "executions": 1, "jobs": 1, "deliveries": 1}


def test_an_empty_home_has_no_findings(sqlite_world: Any, place: Place) -> None:
    settings = Settings(database_url=sqlite_world.url, artifacts_url=place.url, outputs_url=f"{place.url}-out",
                        s3_endpoint_url=place.endpoint)
    assert verify(sqlite_world.database, settings).findings == ()


@pytest.mark.parametrize("plant", PLANTS)
def test_each_planted_fault_is_found_and_alone(kept_anywhere: Kept, plant: str) -> None:
    kept = kept_anywhere
    if plant in ON_A_DISK_ONLY and kept.at.endpoint is not None:
        return
    kind, where = getattr(kept, plant)()
    found = check(kept, grace_seconds=NOW).faults
    assert [one.kind for one in found if where in one.where] == [kind]
    allowed = {"lose_bytes": (), "unhinge": ("dangling", "orphan"), "misplace": ()}.get(plant, ())
    assert {one.kind for one in found} <= {kind, *allowed}


@pytest.mark.parametrize("plant", PLANTS)
def test_the_checker_changes_nothing(kept: Kept, plant: str) -> None:
    getattr(kept, plant)()
    before = {name: kept.at.read(name) for name in kept.at.names()}
    first = check(kept, grace_seconds=NOW)
    assert check(kept, grace_seconds=NOW) == first
    assert {name: kept.at.read(name) for name in kept.at.names()} == before


@pytest.mark.parametrize("plant", [
    "lose_bytes", "truncate", "lie_about_the_size", "leave_an_orphan", "take_the_delivery_away"])
def test_a_quick_look_compares_sizes_and_names(kept_anywhere: Kept, plant: str) -> None:
    kept = kept_anywhere
    kind, where = getattr(kept, plant)()
    found = check(kept, read_data=False, grace_seconds=NOW).faults
    assert [one.kind for one in found] == ["wrong_size" if plant == "truncate" else kind]
    assert where in found[0].where


def test_a_quick_look_reads_no_bytes(kept: Kept) -> None:
    kept.flip_a_bit()
    assert check(kept, read_data=False).findings == ()


@pytest.mark.parametrize("plant", ["leave_an_orphan", "leave_a_draft", "leave_a_half_delivery"])
def test_what_is_younger_than_a_day_may_be_in_flight(kept: Kept, plant: str) -> None:
    getattr(kept, plant)()
    kept.age_everything(hours=23)
    assert check(kept).findings == ()
    kept.age_everything(hours=25)
    assert len(check(kept).faults) == 1


def test_what_was_set_aside_is_told_and_no_fault(kept: Kept) -> None:
    kept.plant(f"quarantine/{kept.made.digest}.{'0' * 64}", b"rot")
    kept.plant(f"trash/{'1' * 64}", b"old")
    report = check(kept)
    assert [(one.kind, one.fault) for one in report.findings] == [("quarantined", False), ("trashed", False)]


def test_bytes_that_are_declared_lost_are_told_and_no_fault(kept: Kept) -> None:
    kept.lose_bytes()
    kept.ledger.lose(kept.made.digest)
    assert [(one.kind, one.fault) for one in check(kept).findings] == [("declared_lost", False)]


def test_a_job_that_nobody_works_at_is_told_as_one_to_resume(kept: Kept) -> None:
    kept.ledger.open_job(NewJob(job_id="job-2", pipeline="omni-bg", profile="tiny", requested={}, resolved={},
                                schema_version=1))
    assert [(one.kind, one.where, one.fault) for one in check(kept).findings] == [("idle_job", "job-2", False)]


def test_a_job_that_holds_a_lease_is_no_finding(kept_anywhere: Kept) -> None:
    kept = kept_anywhere
    kept.ledger.open_job(NewJob(job_id=JOB, pipeline="omni-bg", profile="tiny", requested={"image": "a.jpg"},
                                resolved={}, schema_version=1))
    kept.ledger.lose(kept.made.digest)
    kept.claim()
    assert check(kept).findings == ()


def test_while_a_job_runs_its_delivery_may_be_ahead_of_its_row(kept_anywhere: Kept) -> None:
    """It is put first and recorded then; but what a row names must be there."""
    kept = kept_anywhere
    kept.ledger.open_job(NewJob(job_id=JOB, pipeline="omni-bg", profile="tiny", requested={"image": "a.jpg"},
                                resolved={}, schema_version=1))
    kept.replace_the_delivery()
    assert check(kept).faults == ()
    kept.take_the_delivery_away()
    assert [one.kind for one in check(kept).faults] == ["undelivered"]


def test_only_the_latest_delivery_of_a_role_lies_at_its_uri(kept: Kept) -> None:
    other = kept.store.put(png(9), media_type="image/png", width=64, height=48)
    kept.deliver(made=other)
    assert check(kept).findings == ()


def test_a_link_in_place_of_an_object_is_damage_and_not_followed(kept: Kept, tmp_path: Path) -> None:
    name = Path(f"{kept.at.url}/{kept.name(kept.made)}")
    elsewhere = tmp_path / "elsewhere"
    shutil.move(name, elsewhere)
    name.symlink_to(elsewhere)
    assert [one.kind for one in check(kept).faults] == ["damaged"]


def test_a_damaged_database_file_is_found_and_nothing_else_is_believed(kept: Kept) -> None:
    path = Path(kept.settings.database_url.removeprefix("sqlite:///"))
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        root = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'ix_pass_output_digest'").fetchone()[0]
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    connection.close()
    kept.database.close()
    with path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)
    report = check(kept)
    assert {one.kind for one in report.findings} == {"broken_database"}
    assert not any(one.repairable for one in report.findings)


def deliver_into_a_bucket_that_is_gone(kept: Kept) -> str:
    """The uri; where outputs_url points now, all is well."""
    gone = kept.delivered_at.files
    gone.mkdir("gone-bucket")
    outputs = Outputs("s3://gone-bucket", s3_endpoint_url=kept.at.endpoint)
    uri = outputs.put(JOB, "final.png", with_png_text(png(2), {"backlot:artifact": kept.made.digest}))
    kept.ledger.record_output(JOB, "final", kept.made, uri)
    gone.rm("gone-bucket", recursive=True)
    return uri


@pytest.mark.parametrize("read_data", [True, False])
def test_a_delivery_whose_bucket_is_gone_ends_no_check(kept_on_servers: Kept, read_data: bool) -> None:
    kept = kept_on_servers
    uri = deliver_into_a_bucket_that_is_gone(kept)
    kept.lose_photo()
    found = {one.kind: one for one in check(kept, read_data=read_data).faults}
    assert found.keys() == {"unreachable", "missing"}
    assert found["unreachable"].where == uri
    assert "there is no such bucket" in found["unreachable"].what


def test_a_folder_of_deliveries_that_may_not_be_read_ends_no_check(kept: Kept) -> None:
    folder = Path(f"{kept.delivered_at.url}/{JOB}")
    shutil.rmtree(folder)
    folder.write_bytes(b"a file in its place")
    assert [one.kind for one in check(kept).faults] == ["unreachable"]


def test_a_store_that_does_not_answer_is_no_finding(kept_on_servers: Kept, short_pauses: Patience) -> None:
    kept = kept_on_servers
    assert kept.at.endpoint is not None
    with proxy(kept.at.endpoint) as between:
        between.plan = lambda request: SLOW_DOWN if "final.png" in request.path else None
        settings = kept.settings.model_copy(update={"s3_endpoint_url": between.url})
        with pytest.raises(StoreUnavailable):
            verify(kept.database, settings)


def test_lineage_is_compared_with_parts_that_give_their_key_only(kept: Kept) -> None:
    """Else one changed part would accuse the very rows that are right."""
    with kept.database.write() as connection:
        connection.execute(update(cache_key_part).where(cache_key_part.c.part == "inputs.photo").values(
            value=f'"{kept.made.digest}"'))
    assert [one.kind for one in check(kept).faults] == ["wrong_key"]


def test_what_differs_is_told(kept: Kept) -> None:
    kept.swap_an_input()
    kept.forget_the_weights()
    kept.raise_the_version()
    found = {one.what for one in check(kept).faults}
    assert found == {f"inputs.photo is {kept.made.digest}, its key was made of {kept.photo.digest}",
                     f"weights.unet is nothing, its key was made of {UNET}",
                     "version is 2, its key was made of 1"}


def test_what_ended_without_a_result_has_no_edges_and_is_no_finding(kept_anywhere: Kept) -> None:
    kept = kept_anywhere
    claim = kept.claim(KeyParts(pass_name="mix", pass_version=1, params={}, inputs={"photo": kept.photo.digest},
                                weights={"unet": UNET}))
    assert check(kept).faults == ()
    kept.ledger.fail(claim, "gpu-oom", "no memory left")
    assert check(kept).faults == ()


def test_a_lost_execution_keeps_its_lineage(kept_anywhere: Kept) -> None:
    kept = kept_anywhere
    kept.ledger.lose(kept.made.digest)
    assert check(kept).faults == ()
    kept.forget_the_inputs()
    assert [one.kind for one in check(kept).faults] == ["wrong_lineage"]


def test_a_long_lease_is_no_finding_and_one_beyond_any_is(kept: Kept) -> None:
    _, exec_id = kept.lease_for_ever()
    kept.set_lease(now() + LONGEST_LEASE_SECONDS)
    assert check(kept).findings == ()
    kept.set_lease(now() + LONGEST_LEASE_SECONDS + 60)
    assert [one.where for one in check(kept, read_data=False).faults] == [exec_id]


def test_a_job_that_needs_review_rests_on_passes_too(kept_anywhere: Kept) -> None:
    """It delivered no final picture, and that is no fault."""
    kept = kept_anywhere
    kept.forget_the_delivery()
    kept.ledger.close_job(JOB, "needs_review")
    assert check(kept).findings == ()
    kept.forget_the_passes()
    assert [one.kind for one in check(kept).faults] == ["no_passes"]


def test_a_completed_job_that_skipped_every_pass_is_no_finding(kept: Kept) -> None:
    kept.forget_the_passes()
    kept.ledger.skip(JOB, "mix", 1, "mix", "nobody asked for it")
    assert check(kept).findings == ()


def test_progress_counts_every_file(kept: Kept) -> None:
    told: list[tuple[int, int]] = []
    check(kept, progress=lambda done, total: told.append((done, total)))
    assert sorted(told) == [(1, 3), (2, 3), (3, 3)]


def test_every_kind_says_what_it_means_and_what_to_do() -> None:
    assert all(facts.means and facts.remedy for facts in KINDS.values())
