"""The real models' shapes without their weights: public configurations, built on any device, `meta` included.

Random or absent weights give true FLOPs and true speeds, and no pictures. Sources: the config.json of
stabilityai/stable-diffusion-xl-base-1.0 (unet, vae), diffusers/controlnet-depth-sdxl-1.0 (the full ControlNet, 1.251 B
parameters, which xinsir's and destitech's share), stable-diffusion-v1-5 with IC-Light's twelve input channels.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, ControlNetUnionModel, UNet2DConditionModel

SDXL: dict[str, Any] = {
    "in_channels": 4, "block_out_channels": (320, 640, 1280), "layers_per_block": 2, "cross_attention_dim": 2048,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "transformer_layers_per_block": (1, 2, 10), "attention_head_dim": (5, 10, 20), "use_linear_projection": True,
    "addition_embed_type": "text_time", "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816}
TOKENS, WIDTH, POOLED = 77, 2048, 1280
"""Of a prompt that fits one chunk: (rows, 77, 2048) and (rows, 1280)."""


def sdxl_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=128, out_channels=4, up_block_types=("CrossAttnUpBlock2D",) * 2 + ("UpBlock2D",), **SDXL)


def controlnet() -> ControlNetModel:
    return ControlNetModel(conditioning_embedding_out_channels=(16, 32, 96, 256), **SDXL)


def union() -> ControlNetUnionModel:
    """xinsir/controlnet-union-sdxl-1.0's ProMax: eight kinds, else the class's defaults."""
    return ControlNetUnionModel(conditioning_embedding_out_channels=(16, 32, 96, 256), num_control_type=8, **SDXL)


def vae() -> AutoencoderKL:
    """Of SDXL and of SD 1.5: they differ in weights and scaling only."""
    return AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=4, layers_per_block=2, block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, sample_size=1024,
        scaling_factor=0.13025, force_upcast=False)


def iclight_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=64, in_channels=12, out_channels=4, layers_per_block=2, block_out_channels=(320, 640, 1280, 1280),
        cross_attention_dim=768, attention_head_dim=8,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3)


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
