"""Both real profiles from a Hub to pictures: pulled whole by the table's own names, then used without a network."""

from __future__ import annotations

import dataclasses
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
from fake_hub import FakeHub, fake_hub
from huggingface_hub import constants
from real_layouts import save_all, the_profile

from models import weights_lock
from models.alone import alone
from models.errors import WeightsError
from models.hub import Hub
from models.missing import size_words
from models.params import RelightParams, SdxlParams
from models.passes import PASSES, PassContext
from models.pictures import Picture, over
from models.profiles import PROFILES
from models.pull import Wanted, carry_out, plan
from models.weights import resolve
from models.zoo import Zoo
from storage.settings import Settings
from tasks import jobs
from tasks.services import Services, use
from tasks.work import resolve_function

NAMES = ("sdxl", "sdxl-union")


class Quiet:
    def starts(self, one: Wanted) -> None:
        pass

    def arrived(self, one: Wanted, count: int) -> None:
        pass

    ends = starts


def pull(remote: FakeHub, name: str, folder: Path) -> None:
    hub = Hub(remote.url)
    with alone(folder):
        carry_out(plan(the_profile(name).files, folder, hub), folder, hub, Quiet())


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("published")
    save_all(root)
    return root


@pytest.fixture(scope="module")
def pulled(published: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FakeHub]:
    """A folder that both profiles were pulled into; the Hub is away by then."""
    folder = tmp_path_factory.mktemp("weights")
    with pytest.MonkeyPatch.context() as patch, fake_hub() as remote:
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        remote.publish(published)
        for name in NAMES:
            pull(remote, name, folder)
    return folder, remote


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("somebody reached for the network")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_every_row_of_both_profiles_came_byte_for_byte_and_nothing_else(
        pulled: tuple[Path, FakeHub], published: Path) -> None:
    folder, remote = pulled
    keys = {file.key for name in NAMES for file in PROFILES[name].files}
    assert set(weights_lock.read(folder)) == keys
    for key in keys:
        assert (folder / key).read_bytes() == (published / key).read_bytes(), key
    lying = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert lying == {*keys, weights_lock.NAME, ".pull"}
    assert len(remote.fetched()) == len(keys)  # what both profiles read was fetched once


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", NAMES)
def test_the_pulled_profile_loads_and_makes_pictures_without_a_network(
        pulled: tuple[Path, FakeHub], name: str) -> None:
    """Close to what the same toys give unsaved: most of these files are in half precision."""
    rows, columns = np.mgrid[0:64, 0:64]
    alpha = 255 * (np.hypot(rows - 32, columns - 32) < 20)
    placed = np.stack([90 + 80 * (columns // 6 % 2), 60 + rows, 200 - columns, alpha], axis=-1).astype(np.uint8)
    scene = over(placed, np.stack([90 + rows, 120 + columns, 150 - rows], axis=-1).astype(np.uint8))
    sdxl = SdxlParams(prompt="a bottle", negative_prompt="people", steps=2, guidance_scale=4.0, pag_scale=2.0, seed=7,
                      strength=1.0, outpaint_scale=1.0, depth_scale=0.5, line_scale=0.7, brightness=0.5)
    relight = RelightParams(prompt="a bottle", negative_prompt="bad", seed=9, steps=2, guidance_scale=7.0)
    cases = {"sdxl": (sdxl, {"placed": placed, "outpaint": scene, "lines": scene, "depth": scene}),
             "relight": (relight, {"placed": placed, "scene": scene})}
    profile = the_profile(name)
    pinned, toys, zoo = resolve(profile, pulled[0]), resolve(PROFILES["tiny"], pulled[0]), Zoo(device="cpu")
    with zoo.lease(pinned) as models:
        assert set(models) == set(profile.models)
        for case, (params, inputs) in cases.items():
            run = resolve_function(PASSES[case].function)
            made: Picture = run(params, PassContext(models=models), **inputs)
            assert made.shape == (64, 64, 3), case
            if name == "sdxl":
                with zoo.lease(toys) as unsaved:
                    expected = run(params, PassContext(models=unsaved), **inputs).astype(float)
                assert np.abs(made - expected).mean() < 2, case


def production(folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: object) -> Services:
    monkeypatch.setitem(PROFILES, "sdxl", the_profile())  # type: ignore[index]
    return Services(settings=Settings(weights_dir=folder, production=True, **settings))  # type: ignore[arg-type]


def test_a_job_in_production_is_refused_before_it_opens_until_the_licence_is_held(
        pulled: tuple[Path, FakeHub], home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with use(production(pulled[0], monkeypatch)), pytest.raises(
            WeightsError, match=r"weights='lllyasviel/ic-light'.*none stated.*BACKLOT_LICENCES_HELD=lllyasviel/ic-"):
        jobs.check_weights("sdxl", {})
    with use(production(pulled[0], monkeypatch, licences_held="lllyasviel/ic-light")):
        jobs.check_weights("sdxl", {})
        jobs.check_weights("tiny", {})
    assert not home.exists()


def test_a_model_is_recorded_with_the_commit_its_files_came_from(
        pulled: tuple[Path, FakeHub], home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = production(pulled[0], monkeypatch, licences_held="lllyasviel/ic-light")
    model = here.pinned("sdxl")["depth"]
    assert set(model.commits.values()) == {weights_lock.read(pulled[0])[model.spec.files[0].key].commit}
    assert len(next(iter(model.commits.values()))) == 40


def test_a_file_that_goes_missing_is_one_error_with_its_size_and_the_command(
        pulled: tuple[Path, FakeHub], tmp_path: Path) -> None:
    folder = shutil.copytree(pulled[0], tmp_path / "weights")
    gone = folder / "lllyasviel/ic-light/iclight_sd15_fbc.safetensors"
    size = size_words(gone.stat().st_size)
    gone.unlink()
    with pytest.raises(WeightsError) as caught:
        resolve(the_profile(), folder)
    assert f"lllyasviel/ic-light/iclight_sd15_fbc.safetensors ({size}) is missing" in str(caught.value)
    assert "backlot weights pull --profile sdxl" in caught.value.remedy


def test_nothing_but_digests_was_taken_from_the_rows() -> None:
    for name in NAMES:
        ours = [dataclasses.replace(file, sha256=None) for file in PROFILES[name].files]
        assert ours == [dataclasses.replace(file, sha256=None) for file in the_profile(name).files]
