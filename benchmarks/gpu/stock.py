"""The same job by diffusers' own pipelines, what ours is held against: same modules, maps, texts, seeds and steps."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    MultiControlNetModel,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLControlNetPAGImg2ImgPipeline,
)
from PIL import Image

from models.components import IcLightComponents, SdxlComponents
from models.iclight import SCHEDULE, Stage
from models.iclight_prompts import Texts
from models.pictures import Picture, Size, size_of
from models.sdxl.guidance import Guidance
from models.sdxl.schedule import generators, scheduler
from models.sdxl.text import PromptEmbeddings


def render(parts: SdxlComponents, nets: Sequence[Any], *, starts: torch.Tensor, maps: Sequence[torch.Tensor],
           scales: Sequence[float], prompts: PromptEmbeddings, guidance: Guidance, length: int, strength: float,
           seeds: Sequence[int], latents: bool = False) -> Any:
    """StableDiffusionXLControlNetPAGImg2ImgPipeline. starts and maps: (pictures, 3, height, width) in 0..1.

    Returns the final latents, or float32 pictures (pictures, height, width, 3) in 0..1. Every net runs, whatever its
    scale, as the pipeline has it.
    """
    pipeline = StableDiffusionXLControlNetPAGImg2ImgPipeline(
        **vars(parts), controlnet=MultiControlNetModel(list(nets)), scheduler=scheduler(), add_watermarker=False,
        pag_applied_layers="mid")
    pipeline.set_progress_bar_config(disable=True)
    processors, drawn = parts.unet.attn_processors, generators(seeds)
    positive, negative = prompts
    try:
        return pipeline(
            image=starts, control_image=list(maps), controlnet_conditioning_scale=list(scales), strength=strength,
            num_inference_steps=length, guidance_scale=guidance.scale, pag_scale=guidance.pag_scale,
            prompt_embeds=positive.sequence, negative_prompt_embeds=negative.sequence,
            pooled_prompt_embeds=positive.pooled, negative_pooled_prompt_embeds=negative.pooled,
            generator=drawn if len(drawn) > 1 else drawn[0], output_type="latent" if latents else "np").images
    finally:
        parts.unet.set_attn_processor(processors)  # for latents diffusers 0.42.1 returns before it does so itself


def relight(parts: IcLightComponents, stages: Sequence[Sequence[Stage]], *, texts: Texts, guidance_scale: float,
            strength: float, seeds: Sequence[int]) -> list[Picture]:
    """IC-Light as its demo runs it: text-to-image at the small size, image-to-image at the full one, each a stock
    pipeline whose UNet is given the conditions behind its back. texts: one row, for all. stages: two each."""
    small, large = zip(*stages, strict=True)
    drawn = generators(seeds)
    shared: dict[str, Any] = {
        "prompt_embeds": texts.positive.expand(len(seeds), -1, -1).to(parts.unet.dtype),
        "negative_prompt_embeds": texts.negative.expand(len(seeds), -1, -1).to(parts.unet.dtype),
        "guidance_scale": guidance_scale, "output_type": "latent",
        "generator": drawn if len(drawn) > 1 else drawn[0]}
    with _conditions_through_keywords(parts.unet):
        size = size_of(small[0].conditions[0])
        latents = _pipeline(StableDiffusionPipeline, parts)(
            height=size.height, width=size.width, num_inference_steps=small[0].scheduled, **shared,
            cross_attention_kwargs={"conditions": _conditions(parts.vae, small)}).images
        start = _encoded(parts.vae, _resized(_decoded(parts.vae, latents), size_of(large[0].conditions[0])))
        latents = _pipeline(StableDiffusionImg2ImgPipeline, parts)(
            image=start, strength=strength, num_inference_steps=large[0].scheduled, **shared,
            cross_attention_kwargs={"conditions": _conditions(parts.vae, large)}).images
    return list(_decoded(parts.vae, latents))


def _pipeline(kind: Any, parts: IcLightComponents) -> Any:
    made = kind(**vars(parts), scheduler=DPMSolverMultistepScheduler(**SCHEDULE), safety_checker=None,
                feature_extractor=None, requires_safety_checker=False)
    made.set_progress_bar_config(disable=True)
    return made


@contextmanager
def _conditions_through_keywords(unet: Any) -> Generator[None]:
    """While the block runs, the UNet takes further channels from cross_attention_kwargs, the one thing that the
    pipelines hand through (the way of gradio_demo_bg.py in lllyasviel/IC-Light at bcf3f29)."""
    inner: Callable[..., Any] = unet.forward

    def forward(sample: torch.Tensor, *given: Any, cross_attention_kwargs: dict[str, Any], **named: Any) -> Any:
        behind = cross_attention_kwargs["conditions"].to(sample)
        rows = behind.repeat(len(sample) // len(behind), 1, 1, 1)
        return inner(torch.cat([sample, rows], dim=1), *given, **named)

    unet.forward = forward
    try:
        yield
    finally:
        del unet.forward


def _conditions(vae: Any, stages: Sequence[Stage]) -> torch.Tensor:
    """(pictures, 4 for each condition, height / 8, width / 8)"""
    pictures = np.stack([picture for stage in stages for picture in stage.conditions])
    return _encoded(vae, pictures).unflatten(0, (len(stages), -1)).flatten(1, 2)


def _encoded(vae: Any, pictures: Any) -> torch.Tensor:
    """uint8 (pictures, height, width, 3) -> latents, the distribution's mode."""
    values = torch.from_numpy(pictures).movedim(-1, 1).float() / 127 - 1
    mode: torch.Tensor = vae.encode(values.to(vae.device, vae.dtype)).latent_dist.mode()
    return mode * vae.config.scaling_factor


def _decoded(vae: Any, latents: torch.Tensor) -> Any:
    decoded = vae.decode((latents / vae.config.scaling_factor).to(vae.dtype), return_dict=False)[0].float()
    return (decoded * 127.5 + 127.5).clamp(0, 255).byte().movedim(1, -1).cpu().numpy()


def _resized(pictures: Any, size: Size) -> Any:
    return np.stack([np.asarray(Image.fromarray(one).resize((size.width, size.height), Image.Resampling.LANCZOS))
                     for one in pictures])
