"""The models without their files: at full size drawn on the device itself in seconds, or the tiny ones."""

from __future__ import annotations

import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import full_size
import torch
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    Dinov2Config,
    DPTImageProcessor,
)

from models.components import DepthComponents, IcLightComponents, SdxlComponents

ROLES = ("outpaint", "lines", "depth")
CLIP_L: dict[str, Any] = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
                          "num_attention_heads": 12, "hidden_act": "quick_gelu", "projection_dim": 768}
BIG_G: dict[str, Any] = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32,
                         "num_attention_heads": 20, "hidden_act": "gelu", "projection_dim": 1280}
"""SDXL's text encoders: text_encoder/config.json and text_encoder_2/config.json of stable-diffusion-xl-base-1.0."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Makes modules on `device` in `dtype`, in eval mode and without gradients. full: the real sizes, else tiny.

    The depth model and the upscaler as shipped are float32 (models.loaders.IN_FLOAT32)."""

    full: bool
    device: str
    dtype: torch.dtype

    def unet(self) -> Any:
        return self._made(full_size.sdxl_unet) if self.full else self._placed(_tiny().sdxl().unet)

    def nets(self) -> list[Any]:
        """Three ControlNets, in the order of ROLES."""
        return [self._made(full_size.controlnet) if self.full else self._placed(_tiny().controlnet(role))
                for role in ROLES]

    def union(self) -> Any:
        return self._made(full_size.union) if self.full else self._placed(_tiny().union())

    def vae(self, dtype: torch.dtype | None = None) -> Any:
        made = self._made(full_size.vae) if self.full else self._placed(_tiny().sdxl().vae)
        return torch.nn.Module.to(made, dtype or self.dtype)  # diffusers' own `to` warns of layers it does not have

    def sdxl(self) -> SdxlComponents:
        if not self.full:
            parts = _tiny().sdxl()
            for name in ("unet", "vae", "text_encoder", "text_encoder_2"):
                self._placed(getattr(parts, name))
            return parts
        return SdxlComponents(
            unet=self.unet(), vae=self.vae(), text_encoder=self._text(CLIPTextModel, CLIP_L),
            text_encoder_2=self._text(CLIPTextModelWithProjection, BIG_G), tokenizer=tokenizer(),
            tokenizer_2=tokenizer())

    def iclight_unet(self) -> Any:
        """Twelve channels in, and a config that says four, as IC-Light's is (models.iclight.merge_offsets)."""
        if self.full:
            unet = self._made(full_size.iclight_unet)
            unet.register_to_config(in_channels=4)
            return unet
        from models.iclight import merge_offsets

        tiny = _tiny()
        return self._placed(merge_offsets(tiny.sd15_unet(), tiny.iclight_offsets(condition_channels=8)))

    def iclight(self) -> IcLightComponents:
        if self.full:
            return IcLightComponents(unet=self.iclight_unet(), vae=self.vae(),
                                     text_encoder=self._text(CLIPTextModel, CLIP_L), tokenizer=tokenizer())
        tiny = _tiny()
        return IcLightComponents(
            unet=self.iclight_unet(), vae=self._placed(tiny.sd15_vae()),
            text_encoder=self._placed(tiny.sd15_text_encoder()), tokenizer=tiny.tokenizer())

    def depth(self) -> DepthComponents:
        """Depth Anything V2 small: its config.json and preprocessor_config.json."""
        if not self.full:
            parts = _tiny().depth()
            parts.model.to(self.device)
            return parts
        backbone = Dinov2Config(
            hidden_size=384, num_hidden_layers=12, num_attention_heads=6, patch_size=14, image_size=518,
            out_features=["stage3", "stage6", "stage9", "stage12"], reshape_hidden_states=False, apply_layernorm=True)
        config = DepthAnythingConfig(
            backbone_config=backbone, patch_size=14, reassemble_hidden_size=384, fusion_hidden_size=64,
            neck_hidden_sizes=[48, 96, 192, 384], head_hidden_size=32)
        processor = DPTImageProcessor(
            do_resize=True, size={"height": 518, "width": 518}, ensure_multiple_of=14, keep_aspect_ratio=True)
        with torch.device(self.device):
            model = DepthAnythingForDepthEstimation(config)
        return DepthComponents(model=_still(model), processor=processor)

    def upscaler(self, dtype: torch.dtype) -> Any:
        """Real-ESRGAN x4plus's network: RRDB with 23 blocks of 64 channels; tiny: with one of 8."""
        size = {} if self.full else {"num_filters": 8, "num_blocks": 1}
        return self._made(lambda: _rrdb(scale=4, **size), dtype)

    def _made(self, build: Callable[[], Any], dtype: torch.dtype | None = None) -> Any:
        """Built without memory, then filled where it is to be: no initialisation on the CPU."""
        with torch.device("meta"):
            module = build()
        if any(True for _ in module.buffers()):
            raise ValueError(f"{type(module).__name__} has buffers, which would be left as the memory was")
        placed = torch.nn.Module.to(module, dtype or self.dtype)  # diffusers' own warns of layers it has not
        return _still(filled(placed.to_empty(device=self.device)))

    def _text(self, kind: Any, config: dict[str, Any]) -> Any:
        """On the device from the beginning, since it has buffers. Token ids are `tokenizer`'s, of the real vocabulary.
        """
        with torch.device(self.device):
            return self._placed(_still(kind(CLIPTextConfig(
                vocab_size=49408, bos_token_id=998, eos_token_id=999, pad_token_id=999, **config))))

    def _placed(self, module: Any) -> Any:
        return _still(torch.nn.Module.to(module, device=self.device, dtype=self.dtype))


def filled(module: Any) -> Any:
    """Matrices ~ N(0, 1/fan_in), norms 1, other vectors 0: values stay of the order of 1 through every layer."""
    for name, parameter in module.named_parameters():
        with torch.no_grad():
            if parameter.dim() > 1:
                parameter.normal_(0, parameter[0].numel() ** -0.5)
            elif name.endswith("weight"):
                parameter.fill_(1)
            else:
                parameter.zero_()
    return module


def tokenizer() -> Any:
    """A token a character, since the real one would have to be downloaded. models.tiny has the same, but needs
    spandrel, which a bare machine may lack. Prompts here are kept under one chunk of 75."""
    vocabulary: dict[str, int] = {}
    for character in string.printable.strip():
        vocabulary[character] = len(vocabulary)
        vocabulary[character + "</w>"] = len(vocabulary)
    vocabulary |= {"<|startoftext|>": 998, "<|endoftext|>": 999}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)


def _still(module: Any) -> Any:
    return module.eval().requires_grad_(False)


def _rrdb(**size: int) -> Any:
    from spandrel.architectures.ESRGAN.__arch.RRDB import RRDBNet

    return RRDBNet(**size)


def _tiny() -> Any:
    from models import tiny

    return tiny
