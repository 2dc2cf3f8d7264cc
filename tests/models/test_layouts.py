"""The layouts beside those the profiles have today: shards, and one checkpoint in the original layout. No network."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from original_layout import sdxl_checkpoint
from real_layouts import save_text_encoder, save_tokenizer
from safetensors.torch import load_file, save_file

from models import loaders, tiny
from models.errors import WeightsError
from models.profiles import PROFILES, ModelSpec, Profile, WeightFile
from models.weights import pin, resolve

REPO = "shop/sharded"


def as_profile(root: Path, kind: str, role: str = "sdxl") -> Profile:
    """A profile whose one model is made of every file under `root`."""
    paths = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    files = tuple(WeightFile(repo="/".join(path.split("/")[:2]), revision=None, path="/".join(path.split("/")[2:]),
                             sha256=None, licence="MIT", commercial_use="yes", size_bytes=10**8
                             if path.endswith(".safetensors") else None) for path in paths)
    spec = ModelSpec(name="shop", kind=kind, source="files", files=files)  # type: ignore[arg-type]
    return dataclasses.replace(PROFILES["sdxl"], models={role: spec})


def loaded(root: Path, kind: str, role: str = "sdxl", dtype: torch.dtype = torch.float32) -> Any:
    profile = as_profile(root, kind, role)
    pin(profile, root)
    return loaders.load(resolve(profile, root)[role], device="cpu", dtype=dtype)


def same(ours: Any, theirs: Any, *, half: bool = False) -> None:
    expected = theirs.state_dict()
    assert set(ours.state_dict()) == set(expected)
    for name, value in ours.state_dict().items():
        assert torch.equal(value, expected[name].half().float() if half else expected[name]), name


@pytest.mark.parametrize("half", [False, True], ids=["whole", "fp16"])
def test_shards_of_diffusers_come_back_as_they_were_saved(tmp_path: Path, half: bool) -> None:
    net = tiny.controlnet("depth")
    if half:
        net.half()
    net.save_pretrained(tmp_path / REPO, max_shard_size="200KB", variant="fp16" if half else None)
    assert len(list((tmp_path / REPO).glob("*-of-*.safetensors"))) > 2
    same(loaded(tmp_path, "controlnet", "controlnet_depth"), tiny.controlnet("depth"), half=half)


@pytest.mark.parametrize("half", [False, True], ids=["whole", "fp16"])
def test_shards_of_transformers_come_back_as_they_were_saved(tmp_path: Path, half: bool) -> None:
    depth = tiny.depth()
    if half:
        depth.model.half()
    depth.model.save_pretrained(tmp_path / REPO, max_shard_size="50KB", variant="fp16" if half else None)
    depth.processor.save_pretrained(tmp_path / REPO)
    assert len(list((tmp_path / REPO).glob("*-of-*.safetensors"))) > 2
    same(loaded(tmp_path, "depth", "depth").model, tiny.depth().model, half=half)


@pytest.mark.parametrize("shard", ["../elsewhere.safetensors", "gone.safetensors", "/etc/hostname", 7, None])
def test_an_index_that_names_another_file_than_the_pinned_ones_is_refused(tmp_path: Path, shard: object) -> None:
    tiny.controlnet("depth").save_pretrained(tmp_path / REPO, max_shard_size="200KB")
    save_file({"x": torch.zeros(1)}, tmp_path / "elsewhere.safetensors")
    index = tmp_path / REPO / "diffusion_pytorch_model.safetensors.index.json"
    facts = json.loads(index.read_text())
    facts["weight_map"]["conv_in.weight"] = shard
    index.write_text(json.dumps(facts))
    (tmp_path / "elsewhere.safetensors").rename(tmp_path / "shop" / "elsewhere.safetensors")
    profile = as_profile(tmp_path, "controlnet")
    files = tuple(file for file in profile.models["sdxl"].files if file.repo == REPO)
    profile = dataclasses.replace(profile, models={"sdxl": dataclasses.replace(profile.models["sdxl"], files=files)})
    pin(profile, tmp_path)
    with pytest.raises(WeightsError, match="which is none of the pinned files beside it"):
        loaders.load(resolve(profile, tmp_path)["sdxl"], device="cpu", dtype=torch.float32)


def save_single(root: Path, *, configs: str = "shop/single", vae: bool = False) -> Path:
    """One checkpoint in half precision, as they are published, and diffusers' configurations beside it."""
    parts = tiny.sdxl()
    path = root / "shop/single/shopmodel_v5.safetensors"
    path.parent.mkdir(parents=True)
    save_file({name: value.half().contiguous() if value.is_floating_point() else value
               for name, value in sdxl_checkpoint(parts).items()}, path)
    for name in ("unet", "vae", "text_encoder", "text_encoder_2"):
        folder = root / configs / name
        folder.mkdir(parents=True)
        config = getattr(parts, name).config
        (folder / "config.json").write_text(json.dumps(
            config.to_dict() if hasattr(config, "to_dict") else dict(config), default=list))
    for name in ("tokenizer", "tokenizer_2"):
        save_tokenizer(root / configs / name)
    if vae:
        tiny.sd15_vae().save_pretrained(root / "shop/vae")
    return path


@pytest.mark.parametrize("configs", ["shop/single", "lab/base"])
def test_one_checkpoint_in_the_original_layout_comes_back_part_by_part(tmp_path: Path, configs: str) -> None:
    """Its configurations beside it, or from the repository of its base."""
    save_single(tmp_path, configs=configs)
    ours, theirs = loaded(tmp_path, "sdxl"), tiny.sdxl()
    for name in ("unet", "vae", "text_encoder", "text_encoder_2"):
        same(getattr(ours, name), getattr(theirs, name), half=True)
    assert ours.tokenizer("A red mug").input_ids == theirs.tokenizer("A red mug").input_ids
    assert ours.vae.config.scaling_factor == 0.13025


def test_a_repaired_vae_replaces_the_checkpoints_own(tmp_path: Path) -> None:
    save_single(tmp_path, vae=True)
    same(loaded(tmp_path, "sdxl").vae, tiny.sd15_vae())


def test_a_checkpoint_in_the_original_layout_loads_in_the_dtype_asked_for(tmp_path: Path) -> None:
    save_single(tmp_path)
    ours = loaded(tmp_path, "sdxl", dtype=torch.bfloat16)
    assert {parameter.dtype for module in loaders.modules_of(ours) for parameter in module.parameters()} == {
        torch.bfloat16}
    weight = tiny.sdxl().unet.state_dict()["conv_in.weight"].half().bfloat16()
    assert torch.equal(ours.unet.state_dict()["conv_in.weight"], weight)


@pytest.mark.parametrize(("name", "said"), [
    ("model.diffusion_model.middle_block.0.in_layers.2.weight", "its unet lacks ['mid_block.resnets.0.conv1.weight']"),
    ("first_stage_model.decoder.conv_in.bias", "its vae lacks ['decoder.conv_in.bias']"),
    ("conditioner.embedders.1.model.ln_final.bias", "its text_encoder_2 lacks ['text_model.final_layer_norm.bias']"),
    ("conditioner.embedders.0.", "its text_encoder lacks ['conditioner.embedders.0.']")])
def test_what_a_checkpoint_lacks_is_named_and_never_drawn_at_random(tmp_path: Path, name: str, said: str) -> None:
    path = save_single(tmp_path)
    state = {key: value for key, value in load_file(path).items() if not key.startswith(name)}
    save_file(state, path)
    with pytest.raises(WeightsError) as caught:
        loaded(tmp_path, "sdxl")
    assert said in str(caught.value)


def test_a_base_that_brings_its_own_vae_keeps_it(tmp_path: Path) -> None:
    parts, base = tiny.sdxl(), tmp_path / "lab/base"
    for name in ("unet", "vae"):
        getattr(parts, name).save_pretrained(base / name)
    for name in ("text_encoder", "text_encoder_2"):
        save_text_encoder(getattr(parts, name), base / name, half=False)
    for name in ("tokenizer", "tokenizer_2"):
        save_tokenizer(base / name)
    same(loaded(tmp_path, "sdxl").vae, tiny.sdxl().vae)


def test_loading_single_files_and_shards_writes_nothing(
        tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    save_single(tmp_path)
    capfd.readouterr()
    loaded(tmp_path, "sdxl")
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
