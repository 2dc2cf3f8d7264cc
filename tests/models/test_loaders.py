"""Real loading code on real layouts: tiny classes saved where the real files lie, pinned, resolved, loaded, run."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from real_layouts import save_all, the_profile
from safetensors.torch import load_file, save_file

from models import loaders, tiny
from models.components import DepthComponents, IcLightComponents, SdxlComponents
from models.errors import WeightsError
from models.onnx_session import matting_session
from models.profiles import PROFILES
from models.weights import PinnedModel, pin, resolve

ROLES = [role for role in PROFILES["sdxl"].models if role != "lines"]  # a pickle: tests/models/test_teed_weights.py


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("weights")
    save_all(root)
    pin(the_profile(), root)
    return root


@pytest.fixture(scope="module")
def loaded(saved: Path) -> Mapping[str, Any]:
    return {role: load(model) for role, model in resolve(the_profile(), saved).items()}


def load(model: PinnedModel) -> Any:
    return loaders.load(model, device="cpu", dtype=torch.float32)


def same(loaded: Any, original: Any, *, half: bool) -> None:
    """Every weight equals the original's, or the original's rounded to half precision."""
    ours, theirs = loaded.state_dict(), original.state_dict()
    assert set(ours) == set(theirs)
    for name, value in ours.items():
        assert value.dtype in (torch.float32, torch.int64), name
        assert torch.equal(value, theirs[name].half().to(value.dtype) if half else theirs[name]), name
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_sdxl_comes_back_as_it_was_saved_with_the_repaired_vae(loaded: Mapping[str, Any]) -> None:
    ours, theirs = loaded["sdxl"], tiny.sdxl()
    assert isinstance(ours, SdxlComponents)
    same(ours.unet, theirs.unet, half=True)
    same(ours.text_encoder, theirs.text_encoder, half=True)
    same(ours.text_encoder_2, theirs.text_encoder_2, half=True)
    same(ours.vae, theirs.vae, half=False)
    for tokenizer in (ours.tokenizer, ours.tokenizer_2):
        assert tokenizer("A red mug").input_ids == tiny.tokenizer()("A red mug").input_ids
        assert tokenizer.model_max_length == 77


@pytest.mark.parametrize(("purpose", "half"), [("outpaint", True), ("lines", True), ("depth", False)])
def test_each_controlnet_comes_back_as_its_own(loaded: Mapping[str, Any], purpose: str, half: bool) -> None:
    same(loaded[f"controlnet_{purpose}"], tiny.controlnet(purpose), half=half)


def test_iclight_comes_back_as_base_plus_offsets_in_a_widened_unet(loaded: Mapping[str, Any]) -> None:
    ours = loaded["iclight_fbc"]
    assert isinstance(ours, IcLightComponents)
    base, offsets = tiny.sd15_unet().state_dict(), tiny.iclight_offsets(8)
    first = ours.unet.state_dict()["conv_in.weight"]
    assert first.shape[1] == 12
    assert ours.unet.config.in_channels == 4
    assert torch.equal(first[:, :4], base["conv_in.weight"] + offsets["conv_in.weight"][:, :4])
    assert torch.equal(first[:, 4:], offsets["conv_in.weight"][:, 4:])
    middle = "mid_block.resnets.0.conv1.weight"
    assert torch.equal(ours.unet.state_dict()[middle], base[middle] + offsets[middle])
    same(ours.vae, tiny.sd15_vae(), half=False)
    same(ours.text_encoder, tiny.sd15_text_encoder(), half=False)


def test_depth_comes_back_with_its_processor(loaded: Mapping[str, Any]) -> None:
    ours = loaded["depth"]
    assert isinstance(ours, DepthComponents)
    same(ours.model, tiny.depth().model, half=False)
    assert ours.processor.to_dict() == tiny.depth().processor.to_dict()


def test_the_upscaler_comes_back_and_magnifies_by_four(loaded: Mapping[str, Any]) -> None:
    ours = loaded["upscaler"]
    same(ours.model, tiny.upscaler().model, half=False)
    picture = torch.rand(1, 3, 8, 12)
    with torch.inference_mode():
        assert torch.equal(ours(picture), tiny.upscaler()(picture))
        assert ours(picture).shape == (1, 3, 32, 48)


def test_the_matting_network_comes_back_and_gives_the_same_logits(loaded: Mapping[str, Any]) -> None:
    ours, theirs = loaded["matting"], matting_session(tiny.matting(), name="tiny", device="cpu")
    picture = {"input_image": torch.rand(1, 3, 64, 64).numpy()}
    assert (ours.side, ours.size_bytes) == (64, len(tiny.matting()))
    assert loaders.bytes_of(ours) == ours.size_bytes
    assert np.array_equal(ours.session.run(None, picture)[0], theirs.session.run(None, picture)[0])


def test_loaded_parts_fit_together_in_one_step(loaded: Mapping[str, Any]) -> None:
    sdxl, net = loaded["sdxl"], loaded["controlnet_depth"]
    tokens = sdxl.tokenizer("a mug", padding="max_length", return_tensors="pt").input_ids
    with torch.inference_mode():
        first = sdxl.text_encoder(tokens, output_hidden_states=True).hidden_states[-2]
        second = sdxl.text_encoder_2(tokens, output_hidden_states=True)
        text = {"encoder_hidden_states": torch.cat([first, second.hidden_states[-2]], dim=-1),
                "added_cond_kwargs": {"text_embeds": second.text_embeds, "time_ids": torch.ones(1, 6)}}
        latents = sdxl.vae.encode(torch.rand(1, 3, 64, 64)).latent_dist.mode()
        down, middle = net(latents, 500, controlnet_cond=torch.rand(1, 3, 64, 64), return_dict=False, **text)
        noise = sdxl.unet(latents, 500, down_block_additional_residuals=down, mid_block_additional_residual=middle,
                          **text).sample
    assert noise.shape == (1, 4, 8, 8)
    assert noise.isfinite().all()


def test_every_tiny_model_loads_by_its_name() -> None:
    pinned = resolve(PROFILES["tiny"], Path("no-such-folder"))
    tiny_loaded = {role: load(model) for role, model in pinned.items()}
    same(tiny_loaded["controlnet_lines"], tiny.controlnet("lines"), half=False)
    same(tiny_loaded["sdxl"].unet, tiny.sdxl().unet, half=False)
    assert tiny_loaded["iclight_fbc"].unet.state_dict()["conv_in.weight"].shape[1] == 12
    assert {type(value).__name__ for value in tiny_loaded.values()} == {
        "SdxlComponents", "ControlNetModel", "IcLightComponents", "DepthComponents", "ImageModelDescriptor",
        "MattingComponents", "TED"}


def test_denoisers_take_the_zoos_dtype_and_makers_of_pictures_stay_in_float32(saved: Path) -> None:
    pinned = resolve(the_profile(), saved)
    dtypes = {role: {parameter.dtype for module in loaders.modules_of(
        loaders.load(pinned[role], device="cpu", dtype=torch.bfloat16)) for parameter in module.parameters()}
        for role in ("sdxl", "iclight_fbc", "depth", "upscaler")}
    assert dtypes == {"sdxl": {torch.bfloat16}, "iclight_fbc": {torch.bfloat16}, "depth": {torch.float32},
                      "upscaler": {torch.float32}}


def test_memory_is_counted_over_every_module_of_a_bundle() -> None:
    depth = tiny.depth()
    weights = sum(parameter.numel() for parameter in depth.model.parameters())
    assert loaders.bytes_of(depth) == 4 * weights + sum(b.numel() * b.element_size() for b in depth.model.buffers())
    assert loaders.bytes_of(tiny.controlnet("depth")) > 1_000_000
    assert loaders.bytes_of(tiny.upscaler()) > 1_000


@pytest.mark.parametrize("role", ROLES)
def test_a_flipped_byte_is_refused_with_the_file_named(saved: Path, tmp_path: Path, role: str) -> None:
    root = shutil.copytree(saved, tmp_path / "weights")
    model = resolve(the_profile(), root)[role]
    file = model.spec.files[-1]
    flip(root / file.key)
    with pytest.raises(WeightsError, match=f"{file.key} is not the file that was pinned"):
        load(model)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_the_check_of_digests_can_be_left_out(saved: Path, tmp_path: Path) -> None:
    root = shutil.copytree(saved, tmp_path / "weights")
    model = resolve(the_profile(), root)["upscaler"]
    flip(root / model.spec.files[-1].key)
    assert loaders.load(model, device="cpu", dtype=torch.float32, check=False).scale == 4


def test_files_that_were_not_pinned_are_not_read(saved: Path, tmp_path: Path) -> None:
    """A shard index and a newer tokenizer file lie in many repositories, and the libraries would prefer both."""
    root = shutil.copytree(saved, tmp_path / "weights")
    base = root / "SG161222/RealVisXL_V5.0"
    (base / "unet/diffusion_pytorch_model.fp16.safetensors.index.json").write_text('{"weight_map": {"x": "gone"}}')
    (base / "tokenizer/tokenizer.json").write_text("{}")
    ours = load(resolve(the_profile(), root)["sdxl"])
    same(ours.unet, tiny.sdxl().unet, half=True)
    assert ours.tokenizer("A red mug").input_ids == tiny.tokenizer()("A red mug").input_ids


@pytest.mark.parametrize(("role", "path", "name"), [
    ("sdxl", "SG161222/RealVisXL_V5.0/text_encoder/model.fp16.safetensors",
     "text_model.encoder.layers.1.mlp.fc1.weight"),
    ("controlnet_depth", "xinsir/controlnet-depth-sdxl-1.0/diffusion_pytorch_model.safetensors", "conv_in.weight")])
def test_weights_that_a_file_lacks_are_an_error_and_never_drawn_at_random(
        saved: Path, tmp_path: Path, role: str, path: str, name: str) -> None:
    root = shutil.copytree(saved, tmp_path / "weights")
    state = load_file(root / path)
    del state[name]
    save_file(state, root / path, metadata={"format": "pt"})
    pin(the_profile(), root)
    with pytest.raises(WeightsError, match=rf"missing \['.*{name.removeprefix('text_model.')}'\]"):
        load(resolve(the_profile(), root)[role])


@pytest.mark.parametrize("role", ROLES)
def test_loading_writes_nothing_into_the_terminal_or_the_log(
        saved: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, role: str) -> None:
    load(resolve(the_profile(), saved)[role])
    load(resolve(PROFILES["tiny"], saved)[role])
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


@pytest.mark.parametrize(("role", "path", "name", "said"), [
    ("controlnet_depth", "xinsir/controlnet-depth-sdxl-1.0/diffusion_pytorch_model.safetensors", "conv_in.bias",
     "tensor conv_in.bias of its ControlNetModel"),
    ("upscaler", "Comfy-Org/Real-ESRGAN_repackaged/RealESRGAN_x4plus.safetensors", "body.0.weight",
     "tensor body.0.weight of its SRVGGNetCompact"),
    ("iclight_fbc", "lllyasviel/ic-light/iclight_sd15_fbc.safetensors", "conv_in.weight",
     "tensor conv_in.weight of its UNet2DConditionModel")])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_not_finite_is_refused_with_its_tensor_named(
        saved: Path, tmp_path: Path, role: str, path: str, name: str, said: str, value: float) -> None:
    root = shutil.copytree(saved, tmp_path / "weights")
    state = load_file(root / path)
    state[name].view(-1)[1] = value
    save_file(state, root / path, metadata={"format": "pt"})
    pin(the_profile(), root)
    with pytest.raises(WeightsError, match=f"{said} holds values that are not finite in torch.float32"):
        load(resolve(the_profile(), root)[role])


def test_weights_too_large_for_half_precision_are_refused_in_half_precision_only(saved: Path, tmp_path: Path) -> None:
    root = shutil.copytree(saved, tmp_path / "weights")
    path = root / "xinsir/controlnet-depth-sdxl-1.0/diffusion_pytorch_model.safetensors"
    state = load_file(path)
    state["conv_in.bias"][1] = 1e6
    save_file(state, path, metadata={"format": "pt"})
    pin(the_profile(), root)
    model = resolve(the_profile(), root)["controlnet_depth"]
    load(model)
    with pytest.raises(WeightsError, match=r"not finite in torch.float16"):
        loaders.load(model, device="cpu", dtype=torch.float16)


@pytest.mark.parametrize(("role", "path"), [
    ("sdxl", "SG161222/RealVisXL_V5.0/text_encoder/config.json"),
    ("sdxl", "SG161222/RealVisXL_V5.0/unet/config.json"),
    ("sdxl", "SG161222/RealVisXL_V5.0/tokenizer/tokenizer_config.json"),
    ("controlnet_depth", "xinsir/controlnet-depth-sdxl-1.0/config.json"),
    ("depth", "depth-anything/Depth-Anything-V2-Small-hf/config.json"),
    ("depth", "depth-anything/Depth-Anything-V2-Small-hf/preprocessor_config.json")])
def test_code_that_a_configuration_maps_to_is_never_run(saved: Path, tmp_path: Path, role: str, path: str) -> None:
    """auto_map is what `trust_remote_code` would follow."""
    root = shutil.copytree(saved, tmp_path / "weights")
    canary = tmp_path / "canary"
    config = json.loads((root / path).read_text())
    code = f"import pathlib\npathlib.Path({str(canary)!r}).touch()\nclass Evil: pass\n"
    (root / path).with_name("evil.py").write_text(code)
    config["auto_map"] = {kind: ["evil.Evil", "evil.Evil"] if kind == "AutoTokenizer" else "evil.Evil" for kind in (
        "AutoModel", "AutoConfig", "AutoTokenizer", "AutoImageProcessor", "AutoProcessor")}
    (root / path).write_text(json.dumps(config))
    pin(the_profile(), root)
    load(resolve(the_profile(), root)[role])
    assert not canary.exists()


def test_tensors_of_no_network_that_is_known_are_refused(saved: Path, tmp_path: Path) -> None:
    root = shutil.copytree(saved, tmp_path / "weights")
    path = root / "Comfy-Org/Real-ESRGAN_repackaged/RealESRGAN_x4plus.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    pin(the_profile(), root)
    with pytest.raises(WeightsError, match=r"RealESRGAN_x4plus.safetensors is of no network that spandrel knows"):
        load(resolve(the_profile(), root)["upscaler"])


def test_a_union_comes_back_as_it_was_saved_once_for_all_its_roles(tmp_path: Path) -> None:
    whole = PROFILES["sdxl-union"]
    roles = [role for role in whole.models if role.startswith("controlnet_")]
    only = dataclasses.replace(whole, models={role: whole.models[role] for role in roles})
    tiny.union().half().save_pretrained(tmp_path / "OzzyGT/controlnet-union-promax-sdxl-1.0", variant="fp16")
    pin(only, tmp_path)
    found = resolve(only, tmp_path)
    assert len(roles) == 3
    assert len({found[role].digest for role in roles}) == 1
    same(load(found[roles[0]]), tiny.union(), half=True)
    assert (whole.outpaint_hole, PROFILES["sdxl"].outpaint_hole) == ("black", "white")
