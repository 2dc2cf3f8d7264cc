"""The table of weights, and the way from files on a disk to digests in a key."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import save

from models import weights
from models.alone import alone
from models.errors import InputError, WeightsError
from models.licences import RESTRICTIONS, check_production
from models.passes import PASSES
from models.profiles import PROFILES, Profile, WeightFile, profile
from models.weights import check_all, download_command, pin, resolve, verify

ROLES = {"sdxl", "controlnet_outpaint", "controlnet_lines", "controlnet_depth", "iclight_fbc", "depth", "upscaler",
         "lines", "matting"}


@pytest.fixture
def two_files() -> Profile:
    """The sdxl profile cut down to its upscaler (optional) and its depth model."""
    whole = PROFILES["sdxl"]
    upscaler = dataclasses.replace(
        whole.models["upscaler"], files=(dataclasses.replace(whole.models["upscaler"].files[0], sha256=None),))
    return dataclasses.replace(whole, models={"depth": whole.models["depth"], "upscaler": upscaler})


def fill(folder: Path, files: tuple[WeightFile, ...]) -> None:
    for file in files:
        path = folder / file.key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content(file))


def content(file: WeightFile) -> bytes:
    """The least that is of the file's kind."""
    if not file.path.endswith(".safetensors"):
        return json.dumps({"is": file.path}).encode()
    return save({"weight": np.zeros(len(file.path), np.float32)})


@pytest.mark.parametrize("name", list(PROFILES))
def test_every_profile_serves_every_role_a_pass_asks_for(name: str) -> None:
    # sdxl asks: at 0 it needs nothing; and so do canny and the classical matte
    params = SimpleNamespace(strength=1.0, detector="teed", backend="neural")
    asked = {role for spec in PASSES.values() for role in (
        *spec.needs(params, spec.roles + spec.optional_roles), *spec.optional_weights, *spec.chosen_weights)}
    assert asked == ROLES == set(PROFILES[name].models)


def test_the_profiles_say_what_flows_ask_of_them() -> None:
    tiny, sdxl = PROFILES["tiny"], PROFILES["sdxl"]
    assert (tiny.is_tiny, tiny.min_side, tiny.outpaint_hole) == (True, 64, "white")
    assert (sdxl.is_tiny, sdxl.min_side, sdxl.outpaint_hole) == (False, 256, "white")
    assert "not picture quality" in tiny.notice
    assert sdxl.notice == ""


def test_an_unknown_profile_is_one_error_that_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match=r"profile='sdlx'.*Did you mean 'sdxl'\? Known profiles: tiny, sdxl"):
        profile("sdlx")
    with pytest.raises(InputError, match=r"profile='flux': there is no such profile\. Known profiles"):
        profile("flux")


def test_every_file_of_real_weights_is_safe_to_load_and_its_licence_is_stated() -> None:
    files = PROFILES["sdxl"].files
    assert len({file.key for file in files}) == len(files) == 39
    for file in files:
        assert file.path.endswith((".safetensors", ".json", ".txt")) or file.sha256, file.key
        assert file.licence
    unknown = {file.repo for file in files if file.commercial_use == "unknown"}
    assert unknown == {"lllyasviel/ic-light"}
    assert not [file for file in files if file.commercial_use == "no"]


def test_a_tiny_models_digest_is_its_recipe_and_its_name() -> None:
    pinned = resolve(PROFILES["tiny"], Path("no-such-folder"))
    digests = {role: model.digest for role, model in pinned.items()}
    assert set(digests) == ROLES
    assert len(set(digests.values())) == len(ROLES)
    assert digests["sdxl"] == hashlib.sha256(b'{"name":"tiny-sdxl","recipe":"name-seeded-1"}').hexdigest()


def test_pinning_hashes_what_the_loaders_read_and_resolving_reads_it_back(tmp_path: Path, two_files: Profile) -> None:
    fill(tmp_path, two_files.files)
    lock = json.loads(pin(two_files, tmp_path).read_text())
    expected = {file.key: {"sha256": hashlib.sha256(content(file)).hexdigest(),
                           "size": len(content(file))} for file in two_files.files}
    assert lock == expected
    pinned = resolve(two_files, tmp_path)
    assert set(pinned) == {"depth", "upscaler"}
    assert pinned["depth"].sha256 == {file.key: expected[file.key]["sha256"]
                                      for file in two_files.models["depth"].files}
    assert len(pinned["depth"].digest) == 64
    verify(pinned["depth"])


def test_a_models_digest_follows_its_bytes_and_nothing_else(tmp_path: Path, two_files: Profile) -> None:
    fill(tmp_path / "here", two_files.files)
    fill(tmp_path / "there", two_files.files)
    changed = tmp_path / "there" / two_files.models["depth"].files[0].key
    changed.write_bytes(b'{"other": "bytes"}')
    for folder in ("here", "there"):
        pin(two_files, tmp_path / folder)
    here, there = (resolve(two_files, tmp_path / folder) for folder in ("here", "there"))
    assert here["upscaler"].digest == there["upscaler"].digest
    assert here["depth"].digest != there["depth"].digest


def test_a_missing_file_is_named_with_its_size_and_the_command_that_gets_it(tmp_path: Path, two_files: Profile) -> None:
    fill(tmp_path, two_files.files)
    pin(two_files, tmp_path)
    (tmp_path / "depth-anything/Depth-Anything-V2-Small-hf/model.safetensors").unlink()
    with pytest.raises(WeightsError) as caught:
        resolve(two_files, tmp_path)
    told = str(caught.value)
    size = len(content(two_files.models["depth"].files[2])) / 1e3
    assert f"Small-hf/model.safetensors ({size:.1f} kB) is missing, which the profile sdxl needs. Get it with" in told
    assert "Get it with: backlot weights pull --profile sdxl" in told


def test_of_files_never_pinned_the_table_knows_the_size_and_the_others_are_counted(
        tmp_path: Path, two_files: Profile) -> None:
    config, preprocessor, tensors = two_files.models["depth"].files
    with pytest.raises(WeightsError) as caught:
        resolve(two_files, tmp_path)
    assert str(caught.value) == (
        f"weights_dir='{tmp_path}': {config.key} (a small file, 1 MB at most) is missing, which the profile sdxl "
        "needs, and 2 more, 0.10 GB in all. Get them with: backlot weights pull --profile sdxl ; without a network: "
        "`backlot weights list` says how")
    fill(tmp_path, (config, preprocessor))
    with pytest.raises(WeightsError, match=rf"{tensors.path} \(0.10 GB\) is missing, which .* needs\. Get it with"):
        pin(two_files, tmp_path)


def test_of_nothing_fetched_all_that_the_profile_cannot_do_without_is_counted(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"unet/config.json \(a small file, 1 MB at most\) is missing, which the "
                                           r"profile sdxl needs, and 35 more, 20\.70 GB in all\. Get them with"):
        resolve(PROFILES["sdxl"], tmp_path)


def test_files_never_pinned_are_refused_with_the_command_that_pins(tmp_path: Path, two_files: Profile) -> None:
    fill(tmp_path, two_files.files)
    with pytest.raises(WeightsError, match=r"config.json was never pinned.*backlot weights pull .*weights pin --prof"):
        resolve(two_files, tmp_path)


def test_a_file_whose_size_changed_since_it_was_pinned_is_refused(tmp_path: Path, two_files: Profile) -> None:
    fill(tmp_path, two_files.files)
    pin(two_files, tmp_path)
    path = tmp_path / two_files.models["depth"].files[2].key
    size = path.stat().st_size
    path.write_bytes(path.read_bytes() + b"!")
    with pytest.raises(WeightsError, match=f"model.safetensors has {size + 1} bytes and had {size} when it was pinned"):
        resolve(two_files, tmp_path)


def test_a_flipped_bit_is_found_by_verifying(tmp_path: Path, two_files: Profile) -> None:
    fill(tmp_path, two_files.files)
    pin(two_files, tmp_path)
    path = tmp_path / two_files.models["depth"].files[2].key
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    model = resolve(two_files, tmp_path)["depth"]  # its size is right, so resolving cannot see it
    with pytest.raises(WeightsError, match=r"model.safetensors is not the file that was pinned"):
        verify(model)


def test_checking_all_names_every_file_that_is_not_as_pinned(tmp_path: Path, two_files: Profile) -> None:
    fill(tmp_path, two_files.files)
    pin(two_files, tmp_path)
    config, _, tensors = two_files.models["depth"].files
    flipped = tmp_path / tensors.key
    flipped.write_bytes(flipped.read_bytes()[:-1] + b"\1")
    (tmp_path / config.key).unlink()
    read: list[int] = []
    faults = {one.file.key: str(one.fault) for one in check_all(two_files, tmp_path, read.append)
              if one.fault is not None}
    assert set(faults) == {config.key, tensors.key}
    assert "is missing" in faults[config.key]
    assert "is not the file that was pinned" in faults[tensors.key]
    assert sum(read) == sum((tmp_path / file.key).stat().st_size for file in two_files.files if file is not config)


def test_every_row_says_where_its_licence_is_known_from_and_none_claims_an_unknown_commit() -> None:
    for file in {file.key: file for one in PROFILES.values() for file in one.files}.values():
        assert file.licence_from, file.key
        assert file.licence in RESTRICTIONS, file.key
        assert file.revision is None or len(file.revision) == 40, file.key
        assert file.sha256 is None or len(file.sha256) == 64, file.key


def test_in_production_what_may_not_be_sold_is_refused_until_its_licence_is_held() -> None:
    files = PROFILES["sdxl"].files
    with pytest.raises(WeightsError) as caught:
        check_production(files, held=["shop/other"])
    told = str(caught.value)
    assert told.startswith("weights='lllyasviel/ic-light': the licence of its weights (none stated; ")
    assert "BACKLOT_LICENCES_HELD=shop/other,lllyasviel/ic-light" in told
    check_production(files, held=["lllyasviel/ic-light"])
    no = [dataclasses.replace(file, commercial_use="no") for file in PROFILES["sdxl"].models["depth"].files]
    with pytest.raises(WeightsError, match="does not allow commercial use, and BACKLOT_PRODUCTION is on"):
        check_production(no, held=["lllyasviel/ic-light"])


def test_nobody_pulls_while_another_pins_and_the_other_way_round(
        tmp_path: Path, two_files: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry that a pull wrote between a pin's reading of the lock and its writing would be lost."""
    fill(tmp_path, two_files.files)
    with alone(tmp_path), pytest.raises(WeightsError, match="another pull or pin is at work in this folder"):
        pin(two_files, tmp_path)
    met = []

    def hash_while_another_comes(path: Path) -> str:
        with pytest.raises(WeightsError, match="another pull or pin is at work"), alone(tmp_path):
            pass
        met.append(path)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr(weights, "sha256_of", hash_while_another_comes)
    pin(two_files, tmp_path)
    assert len(met) == len(two_files.files)
    with alone(tmp_path):
        pass


def test_a_file_that_is_not_what_the_table_says_is_not_pinned(tmp_path: Path) -> None:
    whole = PROFILES["sdxl"]
    only = dataclasses.replace(whole, models={"upscaler": whole.models["upscaler"]})
    fill(tmp_path, only.files)
    with pytest.raises(WeightsError, match=r"x4plus.safetensors has the digest .* the table of weights says"):
        pin(only, tmp_path)


def test_a_file_that_no_loader_would_open_is_not_pinned(tmp_path: Path, two_files: Profile) -> None:
    fill(tmp_path, two_files.files)
    (tmp_path / two_files.models["depth"].files[2].key).write_bytes(pickle.dumps({"weight": 1}))
    with pytest.raises(WeightsError, match=r"model.safetensors is not safetensors, whatever its name"):
        pin(two_files, tmp_path)


def test_an_upscaler_nobody_fetched_is_left_out_and_one_that_vanished_is_missed(
        tmp_path: Path, two_files: Profile) -> None:
    fill(tmp_path, two_files.models["depth"].files)
    pin(two_files, tmp_path)
    assert set(resolve(two_files, tmp_path)) == {"depth"}
    fill(tmp_path, two_files.models["upscaler"].files)
    with pytest.raises(WeightsError, match=r"RealESRGAN_x4plus.safetensors was never pinned"):
        resolve(two_files, tmp_path)
    pin(two_files, tmp_path)
    (tmp_path / two_files.models["upscaler"].files[0].key).unlink()
    with pytest.raises(WeightsError, match=r"RealESRGAN_x4plus.safetensors .* is missing"):
        resolve(two_files, tmp_path)


def test_a_broken_lock_says_so(tmp_path: Path, two_files: Profile) -> None:
    fill(tmp_path, two_files.files)
    pin(two_files, tmp_path).write_text("{")
    with pytest.raises(WeightsError, match="the lock file is not JSON"):
        resolve(two_files, tmp_path)


def test_a_known_commit_is_in_the_download_command(two_files: Profile) -> None:
    depth = two_files.models["depth"]
    at_commit = dataclasses.replace(
        depth, files=tuple(dataclasses.replace(file, revision="abc123") for file in depth.files))
    known = dataclasses.replace(two_files, models={"depth": at_commit})
    command = download_command(known, "depth-anything/Depth-Anything-V2-Small-hf", Path("weights"))
    assert " --revision abc123 --local-dir weights/depth-anything/" in command


def test_reading_the_table_and_resolving_load_no_torch() -> None:
    script = ("import sys; from pathlib import Path; from models.weights import PROFILES, resolve\n"
              "resolve(PROFILES['tiny'], Path('none'))\n"
              "print({'torch', 'diffusers', 'transformers', 'numpy'} & set(sys.modules))")
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"
