"""The doctor at real places: SQLite files, PostgreSQL, folders, buckets of a real server, dead ports."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from postgres import Databases
from s3 import DENIED, S3, proxy
from safetensors.numpy import save

import tasks.doctor_weights
from models.errors import InputError, WeightsError
from models.profiles import PROFILES, Profile
from models.weights import pin
from storage.database import open_database
from storage.errors import StorageError
from storage.schema import REVISIONS, downgrade
from storage.settings import Settings
from tasks import doctor_places
from tasks.diagnosis import Line
from tasks.doctor_places import database, inputs, integrity, store
from tasks.doctor_weights import weights

pytest_plugins = ["postgres", "store_fixtures"]

DEAD = "http://127.0.0.1:1"


def settings(home: Path, **more: Any) -> Settings:
    return Settings(home=home, **more)


@pytest.fixture
def used(tmp_path: Path) -> Settings:
    """A home with a database, a store and deliveries."""
    made = settings(tmp_path / "home")
    open_database(made.database_url).close()
    (made.home / "artifacts").mkdir()
    (made.home / "outputs").mkdir()
    return made


def only(lines: Any) -> Line:
    [line] = lines
    assert isinstance(line, Line)
    assert bool(line.remedy) == (line.verdict != "ok")
    return line


def test_a_healthy_sqlite_file_is_told_with_its_version(used: Settings) -> None:
    line = only(database(used))
    assert line.verdict == "ok"
    assert line.said.startswith("SQLite 3.")
    assert f"tables of version {REVISIONS[-1]}, answers in" in line.said
    assert only(integrity(used)).verdict == "ok"


def test_a_home_that_was_never_used_is_well_and_stays_as_it_was(tmp_path: Path) -> None:
    new = settings(tmp_path / "home")
    lines = [only(database(new)), only(store(new, "artifacts_url")), only(store(new, "outputs_url"))]
    assert [line.verdict for line in lines] == ["ok"] * 3
    assert all("not there yet: the first run makes it" in line.said for line in lines)
    assert integrity(new) == []
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_fails(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    made = settings(tmp_path, artifacts_url=str(tmp_path / "file" / "store"), outputs_url="/proc/backlot/outputs")
    for setting in ("artifacts_url", "outputs_url"):
        with pytest.raises(StorageError, match="cannot be written"):
            store(made, setting)  # type: ignore[arg-type]


@pytest.mark.parametrize("url", ["https://shop:CANARY@pictures.example/cas", "sftp://shop:CANARY@host/cas"])
def test_a_place_that_is_neither_a_folder_nor_a_bucket_fails_without_its_password(tmp_path: Path, url: str) -> None:
    line = only(store(settings(tmp_path, artifacts_url=url), "artifacts_url"))
    assert line.verdict == "failed"
    assert "is neither a folder nor s3://" in line.said
    assert "CANARY" not in str(line)


def test_an_outdated_schema_names_the_command(used: Settings) -> None:
    downgrade(used.database_url, REVISIONS[0])
    line = only(database(used))
    assert line.verdict == "failed"
    assert f"tables of version {REVISIONS[0]}, and {REVISIONS[-1]} is needed" in line.said
    assert line.remedy == "backlot db upgrade"


def test_tables_of_a_newer_version_are_not_touched(used: Settings) -> None:
    with open_database(used.database_url).write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    line = only(database(used))
    assert line.verdict == "failed"
    assert "tables of version 9999, which this version of Backlot does not know" in line.said


def test_a_damaged_file_fails_twice(used: Settings) -> None:
    file = used.home / "backlot.db"
    file.write_bytes(b"not a database, " * 1000)
    assert "it cannot be asked (file is not a database)" in only(database(used)).said
    assert only(integrity(used)).verdict == "failed"


def test_a_database_file_on_a_network_file_system_fails(used: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_places, "network_file_system", lambda folder: "nfs4")  # none is mounted here
    line = only(database(used))
    assert line.verdict == "failed"
    assert "network file system (nfs4)" in line.said


def test_postgresql_is_told_with_its_clock(tmp_path: Path, postgres_url: str) -> None:
    told, clock = database(settings(tmp_path, database_url=postgres_url))
    assert (told.verdict, clock.verdict) == ("ok", "ok")
    assert told.said.startswith("PostgreSQL ")
    assert integrity(settings(tmp_path, database_url=postgres_url)) == []


def test_a_postgresql_without_tables_is_well(tmp_path: Path, postgres: Databases) -> None:
    with postgres.empty() as url:
        told, _ = database(settings(tmp_path, database_url=url))
    assert told.verdict == "ok"
    assert "without tables yet" in told.said


def test_a_postgresql_that_is_away_fails_without_its_password(tmp_path: Path) -> None:
    line = only(database(settings(tmp_path, database_url="postgresql://shop:CANARY@127.0.0.1:1/shop?sslkey=CANARY")))
    assert line.verdict == "failed"
    assert "Connection refused" in line.said
    assert "CANARY" not in str(line)


@pytest.mark.parametrize(("ahead", "verdict", "says"), [
    (0.0, "ok", "agree"), (4.9, "ok", "agree"), (-90.0, "warning", "90 s behind"),
    (3600.0, "warning", "3600 s ahead of")])
def test_a_clock_that_is_wrong_is_a_warning(ahead: float, verdict: str, says: str) -> None:
    line = doctor_places._clock(ahead)
    assert line.verdict == verdict
    assert says in line.said


def test_a_folder_and_a_bucket_are_probed_and_left_as_they_were(used: Settings, s3: S3) -> None:
    assert "exclusive create, rename, fsync, free space" in only(store(used, "artifacts_url")).said
    made = settings(used.home, artifacts_url=f"{s3.url}/cas", s3_endpoint_url=s3.endpoint)
    line = only(store(made, "artifacts_url"))
    assert line.verdict == "ok"
    assert "conditional create, list after write, ranged read, delete" in line.said
    assert s3.names() == set()
    assert list((used.home / "artifacts").iterdir()) == []


def test_a_bucket_that_ignores_conditions_works_and_is_noted(used: Settings, s3: S3) -> None:
    with proxy(s3.endpoint, without=("If-None-Match",)) as relay:
        note, fine = store(settings(used.home, outputs_url=s3.url, s3_endpoint_url=relay.url), "outputs_url")
    assert (note.verdict, fine.verdict) == ("warning", "ok")
    assert "If-None-Match" in note.said
    assert "conditional" not in fine.said


def test_a_store_that_is_away_or_forbidden_fails(used: Settings, s3: S3) -> None:
    away = only(store(settings(used.home, outputs_url=s3.url, s3_endpoint_url=DEAD), "outputs_url"))
    assert away.verdict == "failed"
    assert "BACKLOT_S3_ENDPOINT_URL" in away.remedy
    with proxy(s3.endpoint) as relay:
        relay.plan = lambda request: DENIED
        with pytest.raises(StorageError, match="the server forbids it"):
            store(settings(used.home, outputs_url=s3.url, s3_endpoint_url=relay.url), "outputs_url")


def test_a_disk_that_is_nearly_full_fails(used: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.probe.LEAST_FREE", 10**18)
    line = only(store(used, "artifacts_url"))
    assert line.verdict == "failed"
    assert "make room" in line.said


@pytest.mark.parametrize(("theirs", "ours", "shared"), [
    ("shop", "s3://shop/cas", True), ("shop/in", "s3://shop/cas", False), ("shop/in", "s3://shop", True),
    ("shop/in", "s3://shop/in/cas", True), ("shop/in", "s3://shop/inner", False), ("shop", "s3://shop2/cas", False),
    ("shop/in/", "s3://shop/in", True), ("shop", "/srv/shop", False),
    ("/srv/in", "/srv", True), ("/srv", "/srv/out", True), ("/srv/in", "/srv/inner", False),
    ("/srv", "file:///srv/out", True), ("/srv", "s3://srv", False)])
def test_results_that_lie_where_sellers_may_write_are_noted(
        tmp_path: Path, theirs: str, ours: str, shared: bool) -> None:
    allowed: dict[str, Any] = {"input_roots" if theirs.startswith("/") else "input_buckets": (theirs,)}
    line = only(inputs(settings(tmp_path, artifacts_url=ours, **allowed)))
    assert line.verdict == ("warning" if shared else "ok")
    assert theirs in line.said


def test_without_allowed_places_only_https_is_left(tmp_path: Path) -> None:
    assert "no bucket and no folder is allowed" in only(inputs(settings(tmp_path))).said


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Profile:
    """A profile of one real model and an upscaler, its files at their least, pinned."""
    whole = PROFILES["sdxl"]
    upscaler = dataclasses.replace(
        whole.models["upscaler"], files=(dataclasses.replace(whole.models["upscaler"].files[0], sha256=None),))
    small = dataclasses.replace(whole, models={"depth": whole.models["depth"], "upscaler": upscaler})
    for file in small.files:
        path = tmp_path / "weights" / file.key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(save({"a": np.zeros(2, np.float32)}) if path.suffix == ".safetensors" else b"{}")
    pin(small, tmp_path / "weights")
    monkeypatch.setattr(tasks.doctor_weights, "profile", lambda name: small)
    return small


def test_tiny_weights_need_nothing(tmp_path: Path) -> None:
    assert "nothing to fetch" in only(weights(settings(tmp_path), "tiny", full=False)).said


def test_pinned_weights_are_well_and_hashed_when_asked(tmp_path: Path, files: Profile) -> None:
    assert "2 models" in only(weights(settings(tmp_path), "small", full=False)).said
    assert "every digest as pinned" in only(weights(settings(tmp_path), "small", full=True)).said


def test_a_changed_byte_is_seen_when_asked(tmp_path: Path, files: Profile) -> None:
    path = tmp_path / "weights" / files.models["depth"].files[2].key
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    assert only(weights(settings(tmp_path), "small", full=False)).verdict == "ok"
    line = only(weights(settings(tmp_path), "small", full=True))
    assert line.verdict == "failed"
    assert "model.safetensors is not the file that was pinned" in line.said


def test_a_file_that_no_loader_would_open_is_seen_without_hashing(tmp_path: Path, files: Profile) -> None:
    path = tmp_path / "weights" / files.models["depth"].files[2].key
    path.write_bytes(b"\x80" + path.read_bytes()[1:])
    assert "is not safetensors" in only(weights(settings(tmp_path), "small", full=False)).said


def test_an_optional_model_that_was_never_fetched_is_noted(tmp_path: Path, files: Profile) -> None:
    shutil.rmtree(tmp_path / "weights" / files.models["upscaler"].files[0].repo)
    pin(files, tmp_path / "weights")
    line = only(weights(settings(tmp_path), "small", full=False))
    assert line.verdict == "warning"
    assert "no upscaler" in line.said
    assert line.remedy == "Get it with: backlot weights pull --profile sdxl --only upscaler"


def test_weights_that_production_refuses_are_a_failure_until_their_licence_is_held(
        tmp_path: Path, files: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    depth = files.models["depth"]
    unknown = dataclasses.replace(depth, files=tuple(
        dataclasses.replace(file, commercial_use="unknown") for file in depth.files))
    small = dataclasses.replace(files, models={**files.models, "depth": unknown})
    monkeypatch.setattr(tasks.doctor_weights, "profile", lambda name: small)
    repo = depth.files[0].repo
    assert only(weights(settings(tmp_path), "small", full=False)).verdict == "ok"
    line = only(weights(settings(tmp_path, production=True), "small", full=False))
    assert line.verdict == "failed"
    assert f"BACKLOT_LICENCES_HELD={repo}" in line.remedy
    held = settings(tmp_path, production=True, licences_held=(repo,))
    assert only(weights(held, "small", full=False)).verdict == "ok"


def test_a_model_for_a_way_nobody_chose_is_not_missed_and_one_for_the_chosen_way_is(
        tmp_path: Path, files: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    more = dataclasses.replace(files, models={**files.models, "lines": PROFILES["sdxl"].models["lines"]})
    monkeypatch.setattr(tasks.doctor_weights, "profile", lambda name: more)
    assert only(weights(settings(tmp_path), "small", full=False)).verdict == "ok"
    line = only(weights(settings(tmp_path, lines="teed"), "small", full=False))
    assert line.verdict == "failed"
    assert "sdxl: no lines, which BACKLOT_LINES=teed needs" in line.said


def test_missing_weights_and_unknown_profiles_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"unet/config.json .* 35 more.* Get them with: backlot weights pull"):
        weights(settings(tmp_path), "sdxl", full=False)
    with pytest.raises(InputError, match="Known profiles"):
        weights(settings(tmp_path), "flux", full=False)
