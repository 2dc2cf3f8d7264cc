"""The loaded objects behind each weight role: bundles of library classes, typed loosely because the libraries are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class SdxlComponents:
    """Role "sdxl": everything of Stable Diffusion XL but the ControlNets."""

    unet: Any            # diffusers.UNet2DConditionModel
    vae: Any             # diffusers.AutoencoderKL, factor 8
    text_encoder: Any    # transformers.CLIPTextModel
    text_encoder_2: Any  # transformers.CLIPTextModelWithProjection
    tokenizer: Any       # transformers.CLIPTokenizer
    tokenizer_2: Any


@dataclass(frozen=True, kw_only=True)
class IcLightComponents:
    """Role "iclight_fbc": Stable Diffusion 1.5 with IC-Light's offsets already merged into a widened UNet.

    unet.config.in_channels stays 4 on purpose (schedulers size the noise from it); conv_in takes 12.
    """

    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any


@dataclass(frozen=True, kw_only=True)
class DepthComponents:
    """Role "depth": transformers' DepthAnythingForDepthEstimation with its image processor."""

    model: Any
    processor: Any


@dataclass(frozen=True, kw_only=True)
class MattingComponents:
    """Role "matting": a network that sees a product in its photo, as an ONNX graph.

    session: one picture (1, 3, side, side) in, logits of its matte as the last output. size_bytes: of the graph.
    device: where it computes, "cpu" where it was asked for a GPU and has none; note: what a user should know of that.
    """

    session: Any         # onnxruntime.InferenceSession
    side: int
    size_bytes: int
    device: str = "cpu"
    note: str = ""


# The roles "controlnet_outpaint", "controlnet_lines" and "controlnet_depth" are diffusers.ControlNetModel, or one
# ControlNetUnionModel for all three; "upscaler" is spandrel.ImageModelDescriptor; "lines" is controlnet-aux's TED.
