"""Stable Diffusion XL from one checkpoint in the original layout (.safetensors), through diffusers' own conversion.

The configurations come from files beside it, in diffusers' layout: diffusers would else fetch them. Nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    create_diffusers_clip_model_from_ldm,
)
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from models.errors import WeightsError

PREFIXES = {"unet": "model.diffusion_model.", "vae": "first_stage_model.", "text_encoder": "conditioner.embedders.0.",
            "text_encoder_2": "conditioner.embedders.1."}
"""Where the original layout keeps each part (Stability-AI/generative-models, configs/inference/sd_xl_base.yaml)."""


def sdxl_parts(state: Mapping[str, torch.Tensor], configs: Path, dtype: torch.dtype) -> dict[str, Any]:
    """unet, vae, text_encoder and text_encoder_2, each with every one of its weights from `state`.

    configs: the folder with <part>/config.json. Raises WeightsError naming a part and what it lacks.
    """
    parts = {}
    for name, prefix in PREFIXES.items():
        # Each sees its own keys only: diffusers tells the text encoders apart by their width.
        own = {key: value for key, value in state.items() if key.startswith(prefix)}
        if not own:
            raise _lacking(name, [prefix])
        parts[name] = _part(name, own, configs, dtype)
        left = [key for key, tensor in parts[name].state_dict().items() if tensor.is_meta]
        if left:
            raise _lacking(name, left)
    return parts


def _part(name: str, state: dict[str, torch.Tensor], configs: Path, dtype: torch.dtype) -> Any:
    """The part, with what `state` lacks of it left on the meta device."""
    if name == "unet":
        return _assigned(UNet2DConditionModel, convert_ldm_unet_checkpoint, state, configs / name, dtype)
    if name == "vae":
        return _assigned(AutoencoderKL, convert_ldm_vae_checkpoint, state, configs / name, dtype)
    kind = CLIPTextModel if name == "text_encoder" else CLIPTextModelWithProjection
    return create_diffusers_clip_model_from_ldm(
        kind, state, subfolder=name, config=str(configs), torch_dtype=dtype, local_files_only=True)


def _assigned(kind: Any, convert: Callable[..., dict[str, torch.Tensor]], state: dict[str, torch.Tensor],
              folder: Path, dtype: torch.dtype) -> Any:
    """`from_single_file` does the same and fails without a name where a tensor is missing (diffusers 0.42.1)."""
    config = kind.load_config(folder, local_files_only=True)
    with init_empty_weights():
        model = kind.from_config(config)
    tensors = {key: tensor.to(dtype) for key, tensor in convert(state, config=dict(model.config)).items()}
    model.load_state_dict(tensors, strict=False, assign=True)
    return model


def _lacking(part: str, names: list[str]) -> WeightsError:
    return WeightsError(f"its {part} lacks {sorted(names)[:3]}", field="weights", value="the single checkpoint",
                        remedy="Use a whole checkpoint of Stable Diffusion XL, and the configurations of its base")
