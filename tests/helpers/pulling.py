"""A Hub with two small models and what tests of the pull do with it. As a plugin it brings the fixture `remote`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np
import pytest
from fake_hub import FakeHub, fake_hub
from huggingface_hub import constants
from safetensors.numpy import save

from models import hub as hub_module
from models.alone import alone
from models.errors import WeightsError
from models.hub import Hub
from models.profiles import PROFILES, Profile, WeightFile
from models.pull import Plan, Wanted, carry_out, plan

DEPTH = "depth-anything/Depth-Anything-V2-Small-hf"
UPSCALER = "Comfy-Org/Real-ESRGAN_repackaged"
CONFIG, WEIGHTS = f"{DEPTH}/config.json", f"{DEPTH}/model.safetensors"


def two_models() -> Profile:
    """The sdxl profile cut down to its upscaler (optional) and its depth model."""
    whole = PROFILES["sdxl"]
    file = dataclasses.replace(whole.models["upscaler"].files[0], sha256=None)
    return dataclasses.replace(whole, models={
        "depth": whole.models["depth"], "upscaler": dataclasses.replace(whole.models["upscaler"], files=(file,))})


FILES = two_models().files


def weights_of(seed: int, count: int = 5_000) -> bytes:
    return save({"weight": np.random.default_rng(seed).standard_normal(count, dtype=np.float32)})


def depth_files(seed: int = 1) -> dict[str, bytes]:
    return {"config.json": json.dumps({"seed": seed}).encode(), "preprocessor_config.json": b"{}",
            "model.safetensors": weights_of(seed), "README.md": b"never fetched", "model.bin": b"nor is this"}


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> Generator[FakeHub]:
    """The Hub with both repositories; waiting between tries takes no time."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub_module, "WAITS", (0.0, 0.0, 0.0))
    monkeypatch.setenv("HF_TOKEN", "hf_canary")
    with fake_hub() as serving:
        serving.add(DEPTH, depth_files())
        serving.add(UPSCALER, {"RealESRGAN_x4plus.safetensors": weights_of(2)})
        yield serving


class Watching:
    """Counts what a pull tells."""

    def __init__(self) -> None:
        self.bytes: dict[str, int] = {}
        self.ended: list[str] = []

    def starts(self, one: Wanted) -> None:
        self.bytes[one.file.key] = one.have

    def arrived(self, one: Wanted, count: int) -> None:
        self.bytes[one.file.key] += count

    def ends(self, one: Wanted) -> None:
        self.ended.append(one.file.key)


def pull(remote: FakeHub, folder: Path, *, files: Sequence[WeightFile] = FILES, repin: Sequence[str] = (),
         watch: Watching | None = None) -> Plan:
    hub = Hub(remote.url)
    with alone(folder):
        planned = plan(files, folder, hub, repin=repin)
        carry_out(planned, folder, hub, watch or Watching())
    return planned


def refused(remote: FakeHub, folder: Path, *, files: Sequence[WeightFile] = FILES) -> str:
    """The one line a pull ends in."""
    with pytest.raises(WeightsError) as caught:
        pull(remote, folder, files=files)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def content(folder: Path) -> dict[str, bytes]:
    """Every file that lies under its own name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*")
            if path.is_file() and not path.name.startswith(".") and not path.name.endswith(".lock.json")}


def everything() -> dict[str, bytes]:
    wanted = {f"{DEPTH}/{path}": data for path, data in depth_files().items()
              if path not in ("README.md", "model.bin")}
    return {**wanted, f"{UPSCALER}/RealESRGAN_x4plus.safetensors": weights_of(2)}
