"""`backlot weights` as users see it, against a Hub on loopback and toy files in the real places."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
from fake_hub import FakeHub, Spoilt, commit_name, fake_hub
from huggingface_hub import constants
from safetensors.numpy import save
from typer.testing import CliRunner

from flows.cli import app
from models.profiles import PROFILES

DEPTH = "depth-anything/Depth-Anything-V2-Small-hf"
UPSCALER = "Comfy-Org/Real-ESRGAN_repackaged"


@pytest.fixture
def remote(home: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[FakeHub]:
    """A Hub that serves the profile sdxl, here only its depth model and upscaler."""
    whole = PROFILES["sdxl"]
    file = dataclasses.replace(whole.models["upscaler"].files[0], sha256=None)
    upscaler = dataclasses.replace(whole.models["upscaler"], files=(file,))
    small = dataclasses.replace(whole, models={"depth": whole.models["depth"], "upscaler": upscaler})
    monkeypatch.setitem(PROFILES, "sdxl", small)  # type: ignore[arg-type]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with fake_hub() as serving:
        serving.add(DEPTH, {"config.json": b"{}", "preprocessor_config.json": b"{}", "model.safetensors": toy(1)})
        serving.add(UPSCALER, {"RealESRGAN_x4plus.safetensors": toy(2)})
        serving.licences[DEPTH] = "apache-2.0"
        monkeypatch.setenv("BACKLOT_HUB_URL", serving.url)
        yield serving


def toy(seed: int) -> bytes:
    return save({"weight": np.random.default_rng(seed).standard_normal(99, dtype=np.float32)})


def weights(*arguments: str) -> tuple[int, list[str]]:
    """Exit code and lines, each run of blanks as one."""
    done = CliRunner().invoke(app, ["weights", *arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, [" ".join(line.split()) for line in done.output.splitlines()]


def program(*arguments: str, **settings: str) -> tuple[int, str, str]:
    done = subprocess.run([sys.executable, "-m", "flows", "weights", *arguments], capture_output=True, text=True,
                          timeout=60, env={**os.environ, **settings})
    return done.returncode, done.stdout, done.stderr


def test_a_pull_says_what_comes_under_which_licence_then_what_came(remote: FakeHub, home: Path) -> None:
    code, lines = weights("pull")
    assert code == 0
    assert lines[0].startswith(f"0.00 GB in 4 files are to come to {home / 'weights'} (")
    assert f"{DEPTH} {commit_name(DEPTH, 0)[:12]} 3 0.00 Apache-2.0 yes apache-2.0" in lines
    assert f"{UPSCALER} {commit_name(UPSCALER, 0)[:12]} 1 0.00 BSD-3-Clause yes nothing" in lines
    assert f"fetched {DEPTH}/model.safetensors {len(toy(1)) / 1e3:.1f} kB" in lines
    assert lines[-1] == "4 fetched, verified and pinned."
    code, lines = weights("pull")
    assert (code, lines) == (0, ["4 files were here already; 0 fetched, verified and pinned."])


def test_a_list_follows_what_is_here(remote: FakeHub) -> None:
    code, lines = weights("list")
    assert code == 0
    assert f"{DEPTH} depth Apache-2.0 yes 0.10 3 0 0 not known yet" in lines
    assert "To get what is missing: backlot weights pull --profile sdxl" in lines
    assert any(line.startswith(f"hf download {DEPTH} config.json") for line in lines)
    weights("pull", "--only", "depth")
    code, lines = weights("list")
    assert f"{DEPTH} depth Apache-2.0 yes 0.10 3 3 3 {commit_name(DEPTH, 0)[:12]}" in lines
    assert not any(line.startswith(f"hf download {DEPTH}") for line in lines)
    weights("pull")
    assert not any("missing" in line for line in weights("list")[1])
    row, _ = json.loads("".join(weights("list", "--json")[1]))["repositories"]
    assert (row["repo"], row["here"], row["commit"]) == (DEPTH, 3, commit_name(DEPTH, 0))


def test_verifying_lists_each_file_that_is_not_as_pinned_and_ends_with_1(remote: FakeHub, home: Path) -> None:
    weights("pull")
    assert weights("verify") == (0, ["All 4 files are as pinned."])
    folder = home / "weights" / DEPTH
    (folder / "config.json").unlink()
    (folder / "model.safetensors").write_bytes(toy(3))
    code, lines = weights("verify")
    assert code == 1
    assert f"{DEPTH}/config.json (0.0 kB) is missing, which the profile sdxl needs. Get it" in lines[0]
    assert f"{DEPTH}/model.safetensors is not the file that was pinned" in lines[1]
    assert lines[2] == "2 of 4 files are not as pinned."
    code, lines = weights("verify", "--json")
    assert code == 1
    assert [fault["file"] for fault in json.loads("".join(lines))["faults"]] == [
        f"{DEPTH}/config.json", f"{DEPTH}/model.safetensors"]
    code, lines = weights("pull")
    assert f"{DEPTH}/model.safetensors is here and is not what it should be: fetched again." in lines
    assert weights("verify")[0] == 0


def test_a_wanted_change_is_taken_by_name_and_only_then(remote: FakeHub, home: Path) -> None:
    weights("pull")
    remote.add(DEPTH, {"config.json": b"{}", "preprocessor_config.json": b"{}", "model.safetensors": toy(7)})
    weights("pull")
    assert (home / "weights" / DEPTH / "model.safetensors").read_bytes() == toy(1)
    code, lines = weights("pull", "--repin", DEPTH)
    assert code == 0
    assert (home / "weights" / DEPTH / "model.safetensors").read_bytes() == toy(7)
    assert lines[-1] == "3 files were here already, 2 of them pinned now; 1 fetched, verified and pinned."


def test_what_another_profile_reads_of_a_repinned_repository_changes_with_it(
        remote: FakeHub, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights("pull")
    small = PROFILES["sdxl"]
    depth = dataclasses.replace(small.models["depth"], files=small.models["depth"].files[:2])
    monkeypatch.setitem(PROFILES, "other", dataclasses.replace(small, models={"depth": depth}))  # type: ignore[arg-type]
    remote.add(DEPTH, {"config.json": b"{}", "preprocessor_config.json": b"{}", "model.safetensors": toy(7)})
    assert weights("pull", "--profile", "other", "--repin", DEPTH)[0] == 0
    assert (home / "weights" / DEPTH / "model.safetensors").read_bytes() == toy(7)
    assert weights("verify")[0] == 0


def test_the_licences_of_all_profiles_and_of_one(remote: FakeHub) -> None:
    code, lines = weights("licences")
    assert code == 0
    text = "\n".join(lines)
    assert text.count("OzzyGT/controlnet-union-promax-sdxl-1.0") == 1  # of sdxl-union only
    assert "lllyasviel/ic-light none stated unknown no right is granted in words" in text
    text = "\n".join(weights("licences", "--profile", "sdxl")[1])
    assert "lllyasviel/ic-light" not in text
    assert f"{UPSCALER} BSD-3-Clause yes keep the notice with copies of the weights OpenModelDB" in text


def test_tiny_weights_are_nothing_to_fetch_or_verify(remote: FakeHub) -> None:
    nothing = "These weights are drawn in memory: nothing to download."
    for command in ("list", "licences", "pull", "verify"):
        assert weights(command, "--profile", "tiny") == (0, [nothing])
    assert remote.asked == []


@pytest.mark.parametrize(("arguments", "said"), [
    (("pull", "--only", "dept"), "--only='dept': the profile sdxl has no such role. Roles: sdxl, controlnet_outpaint"),
    (("pull", "--repin", "lab/net"), "--repin='lab/net': the profile sdxl reads nothing of it. Repositories: SG161"),
    (("pull", "--profile", "sdlx"), "Did you mean 'sdxl'?"), (("verify", "--profile", "flux"), "Known profiles")])
def test_a_mistyped_name_is_one_line(home: Path, arguments: tuple[str, ...], said: str) -> None:
    code, out, error = program(*arguments)
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert said in error
    assert not home.exists()


def test_a_hub_that_fails_is_one_line_and_exit_code_2(remote: FakeHub, home: Path) -> None:
    remote.spoilt[DEPTH] = Spoilt(status=401)
    code, out, error = program("pull", "--only", "depth", HF_HUB_OFFLINE="0")
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert f"weights='{DEPTH}'" in error
    assert "Set HF_TOKEN" in error


def test_production_pulls_nothing_that_may_not_be_sold(home: Path) -> None:
    code, out, error = program("pull", BACKLOT_PRODUCTION="true", BACKLOT_HUB_URL="http://127.0.0.1:9")
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert "BACKLOT_LICENCES_HELD=lllyasviel/ic-light" in error
    held = program("pull", BACKLOT_PRODUCTION="true", BACKLOT_HUB_URL="http://127.0.0.1:9", HF_HUB_OFFLINE="0",
                   BACKLOT_LICENCES_HELD="lllyasviel/ic-light")
    assert "cannot be reached" in held[2]


def test_no_command_but_the_pull_loads_a_client_of_http_and_none_loads_torch(home: Path) -> None:
    script = ("import sys; from typer.testing import CliRunner; from flows.cli import app\n"
              "for name in ('list', 'licences', 'verify'): CliRunner().invoke(app, ['weights', name])\n"
              "print({'torch', 'huggingface_hub', 'httpx2'} & set(sys.modules))\n"
              "CliRunner().invoke(app, ['weights', 'pull']); print('torch' in sys.modules)")
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.split("\n")[:2] == ["set()", "False"]
