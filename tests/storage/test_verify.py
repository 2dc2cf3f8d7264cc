"""The checker finds every fault that is planted, and nothing where there is none."""

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from kept import JOB, ON_A_DISK_ONLY, PLANTS, Kept, png
from places import Place

from storage.findings import KINDS
from storage.records import NewJob
from storage.settings import Settings
from storage.verify import Report, verify

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


def test_progress_counts_every_file(kept: Kept) -> None:
    told: list[tuple[int, int]] = []
    check(kept, progress=lambda done, total: told.append((done, total)))
    assert sorted(told) == [(1, 3), (2, 3), (3, 3)]


def test_every_kind_says_what_it_means_and_what_to_do() -> None:
    assert all(facts.means and facts.remedy for facts in KINDS.values())
