"""Settings come from BACKLOT_* and from nowhere else; a misspelt one is an error, not a default."""

import os
import traceback
from pathlib import Path

import pytest
from pydantic import ValidationError

from storage.errors import SettingsError
from storage.settings import Settings


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("BACKLOT_")]:
        monkeypatch.delenv(name)


def test_alone_everything_lies_under_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings()
    assert settings.home == tmp_path / ".backlot"
    assert settings.database_url == f"sqlite:///{tmp_path}/.backlot/backlot.db"
    assert settings.artifacts_url == f"{tmp_path}/.backlot/artifacts"
    assert settings.outputs_url == f"{tmp_path}/.backlot/outputs"
    assert settings.weights_dir == tmp_path / ".backlot" / "weights"
    assert (settings.profile, settings.device, settings.lease_seconds) == ("tiny", "auto", 90)
    assert (settings.input_roots, settings.input_buckets, settings.s3_endpoint_url) == ((), (), None)
    assert not settings.home.exists()


def test_the_environment_sets_each(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"HOME": "/h", "DATABASE_URL": "sqlite:////d/b.db", "ARTIFACTS_URL": "/a", "OUTPUTS_URL": "/o",
             "WEIGHTS_DIR": "/w", "PROFILE": "sdxl", "DEVICE": "cuda:1", "INPUT_ROOTS": "/x:/y z",
             "INPUT_BUCKETS": "shop, other/photos/", "S3_ENDPOINT_URL": "http://store:9000", "LEASE_SECONDS": "30",
             "MIN_TILE_NCC": "0.9", "HUB_URL": "https://hub.example/mirror", "PRODUCTION": "true",
             "LICENCES_HELD": "lab/net, shop/other-net.v2", "SPACING": "ays", "LINES": "teed",
             "MATTING": "neural", "DTYPE": "bfloat16", "COMPILE": "regional"}
    for name, value in given.items():
        monkeypatch.setenv(f"BACKLOT_{name}", value)
    assert Settings().model_dump() == {
        "home": Path("/h"), "database_url": "sqlite:////d/b.db", "artifacts_url": "/a", "outputs_url": "/o",
        "weights_dir": Path("/w"), "profile": "sdxl", "device": "cuda:1", "input_roots": (Path("/x"), Path("/y z")),
        "input_buckets": ("shop", "other/photos/"), "s3_endpoint_url": "http://store:9000", "lease_seconds": 30,
        "min_tile_ncc": 0.9, "hub_url": "https://hub.example/mirror", "production": True,
        "licences_held": ("lab/net", "shop/other-net.v2"), "spacing": "ays", "lines": "teed",
        "matting": "neural", "dtype": "bfloat16", "compile": "regional"}
    assert len(given) == len(Settings.model_fields)


def test_places_follow_home_unless_they_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKLOT_HOME", "/h")
    monkeypatch.setenv("BACKLOT_OUTPUTS_URL", "s3://shop/out")
    settings = Settings()
    assert (settings.artifacts_url, settings.outputs_url) == ("/h/artifacts", "s3://shop/out")


def test_home_stays_the_same_folder_when_a_worker_changes_its_own(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings(home=Path("here"))
    monkeypatch.chdir("/")
    assert settings.home == tmp_path / "here"


@pytest.mark.parametrize(("name", "near"), [
    ("BACKLOT_LEASE_SECOND", "BACKLOT_LEASE_SECONDS"), ("BACKLOT_ARTIFACT_URL", "BACKLOT_ARTIFACTS_URL")])
def test_a_misspelt_variable_is_refused_with_its_nearest_name(
        name: str, near: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "canary")
    with pytest.raises(SettingsError) as refused:
        Settings()
    assert str(refused.value) == f"{name}='(not shown)': there is no such setting. Did you mean {near}?"


def test_a_variable_that_resembles_nothing_is_told_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKLOT_QQQQQ", "5")
    with pytest.raises(SettingsError, match="There are BACKLOT_HOME, BACKLOT_DATABASE_URL"):
        Settings()


@pytest.mark.parametrize(("name", "value"), [
    ("LEASE_SECONDS", "soon"), ("LEASE_SECONDS", "2"), ("DEVICE", "tpu"),
    ("S3_ENDPOINT_URL", "store:9000"), ("HUB_URL", "hub.example"), ("PRODUCTION", "maybe"),
    ("MIN_TILE_NCC", "1"), ("MIN_TILE_NCC", "0.9995"), ("MIN_TILE_NCC", "-1.1"), ("MIN_TILE_NCC", "nan")])
def test_a_bad_value_is_one_line_naming_the_variable(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"BACKLOT_{name}", value)
    with pytest.raises(SettingsError) as refused:
        Settings()
    assert (refused.value.field, refused.value.value) == (f"BACKLOT_{name}", value)
    assert "\n" not in str(refused.value)


def test_a_likeness_that_no_picture_reaches_is_refused_with_the_most_that_can_be_asked(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKLOT_MIN_TILE_NCC", "1.0")
    with pytest.raises(SettingsError) as refused:
        Settings()
    assert str(refused.value) == (
        "BACKLOT_MIN_TILE_NCC='1.0': Input should be less than or equal to 0.999. It says: Least likeness of a "
        "picture's product to its own photo, tile by tile, at most 0.999: rounding leaves an intact product just below "
        "1; below the limit a job ends needs_review; -1 lets everything through")
    monkeypatch.setenv("BACKLOT_MIN_TILE_NCC", "0.999")
    assert Settings().min_tile_ncc == 0.999


def test_a_refused_address_is_shown_without_its_user_and_password(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, shown in {"https://me:canary@store": "https://***@store", "https://me:a/canary@store": "https://***@store",
                         "https://store/?key=canary": "https://store/?***"}.items():
        monkeypatch.setenv("BACKLOT_S3_ENDPOINT_URL", value)
        with pytest.raises(SettingsError) as refused:
            Settings()
        assert refused.value.value == shown
        assert "canary" not in "".join(traceback.format_exception(refused.value))


def test_printed_settings_hold_no_password() -> None:
    assert "canary" not in repr(Settings(database_url="postgresql://me:canary@db/backlot"))


@pytest.mark.parametrize("value", [
    "s3://shop/in", "shop,s3://other", "AKIA:canary@shop", "Shop", "sh", "a..b", "shop/../in", "/"])
def test_an_allowed_bucket_that_could_never_match_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKLOT_INPUT_BUCKETS", value)
    with pytest.raises(SettingsError, match="without s3://") as refused:
        Settings()
    assert refused.value.field == "BACKLOT_INPUT_BUCKETS"
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize("value", ["ic-light", "https://hub.example/lab/net", "lab/net;other/net", "/net", "a/b/c"])
def test_a_licence_held_for_what_is_no_repository_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKLOT_LICENCES_HELD", value)
    with pytest.raises(SettingsError, match="write owner/name") as refused:
        Settings()
    assert refused.value.field == "BACKLOT_LICENCES_HELD"


def test_a_setting_that_is_given_in_code_and_does_not_exist_is_refused() -> None:
    with pytest.raises(SettingsError, match="Did you mean home"):
        Settings(hom=Path("/h"))  # type: ignore[call-arg]


def test_settings_do_not_change_but_copies_may_differ() -> None:
    settings = Settings(home=Path("/h"))
    with pytest.raises(ValidationError):
        settings.profile = "sdxl"  # type: ignore[misc]
    assert settings.model_copy(update={"input_roots": (Path("/"),)}).input_roots == (Path("/"),)


def test_other_peoples_variables_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKLOTS_X", "1")
    monkeypatch.setenv("PROFILE", "sdxl")
    assert Settings().profile == "tiny"
