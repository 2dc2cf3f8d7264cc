"""A file of weights that vanishes while a worker lives on: the same one error as of a file that never was there."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from safetensors.torch import save_file

from models import loaders, tiny
from models.errors import WeightsError
from models.profiles import SDXL, ModelSpec, Profile
from models.weights import PinnedModel, pin, resolve
from models.zoo import Zoo
from storage.settings import Settings
from tasks.classify import classify
from tasks.services import Services


@pytest.fixture
def upscaler() -> Profile:
    """The profile sdxl cut down to its upscaler."""
    spec = SDXL.models["upscaler"]
    return dataclasses.replace(SDXL, models={"upscaler": dataclasses.replace(
        spec, files=(dataclasses.replace(spec.files[0], sha256=None),))})


def pinned(profile: Profile, folder: Path) -> tuple[PinnedModel, Path]:
    path = folder / profile.files[0].key
    path.parent.mkdir(parents=True)
    save_file({name: value.contiguous() for name, value in tiny.upscaler().model.state_dict().items()}, path)
    pin(profile, folder)
    return resolve(profile, folder)["upscaler"], path


def refused(model: PinnedModel) -> WeightsError:
    with pytest.raises(WeightsError) as caught, Zoo(device="cpu").lease({"upscaler": model}):
        pass
    return caught.value


def test_a_file_that_vanished_after_it_was_resolved_is_the_error_of_a_missing_one(
        tmp_path: Path, upscaler: Profile) -> None:
    model, path = pinned(upscaler, tmp_path)
    size = f"{path.stat().st_size / 1e3:.1f} kB"
    path.unlink()
    with pytest.raises(WeightsError) as anew:
        resolve(upscaler, tmp_path)
    error = refused(model)
    assert str(error) == str(anew.value)
    assert f"RealESRGAN_x4plus.safetensors ({size}) is missing, which the profile sdxl needs. Get it with" in str(error)
    assert (classify(error).kind, classify(error).code) == ("operator", "permanent-config")


@pytest.mark.parametrize("passed", ["check_file", "verify"])
def test_it_is_that_error_whoever_meets_it_first(
        tmp_path: Path, upscaler: Profile, passed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What looks before passes, as if the file had gone a moment later: then the reading ahead or the library fails."""
    model, path = pinned(upscaler, tmp_path)
    path.unlink()
    for check in ("check_file", "verify")[:("check_file", "verify").index(passed) + 1]:
        monkeypatch.setattr(loaders, check, lambda *given: None)
    assert "RealESRGAN_x4plus.safetensors" in str(refused(model))


def test_an_error_of_the_disk_is_not_taken_for_a_missing_file(
        tmp_path: Path, upscaler: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = pinned(upscaler, tmp_path)

    def broken(*given: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(loaders, "check_file", broken)
    with pytest.raises(OSError, match="Input/output error"), Zoo(device="cpu").lease({"upscaler": model}):
        pass


def test_a_model_in_memory_is_recorded_though_its_files_are_gone(tmp_path: Path, upscaler: Profile) -> None:
    model, path = pinned(upscaler, tmp_path / "weights")
    size = path.stat().st_size
    path.unlink()
    here = Services(settings=Settings(home=tmp_path / "home"))
    here.know_model(model)
    with here.database.read() as connection:
        [row] = connection.exec_driver_sql("select bytes from model_file").all()
    assert row.bytes == size


def test_a_model_of_no_files_has_none_that_could_vanish() -> None:
    model = PinnedModel(spec=ModelSpec(name="tiny-depth", kind="depth", source="tiny"), digest="0" * 64)
    with Zoo(device="cpu").lease({"depth": model}) as loaded:
        assert set(loaded) == {"depth"}
