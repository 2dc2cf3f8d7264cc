"""The pass `sdxl`: a scene invented around the placed product, or a given scene rendered again. Used twice in omni-bg.

Stands on diffusers 0.42.1's img2img pipelines with perturbed-attention guidance (PAG), with ControlNets where a map is
given. The product is pasted back at the end: diffusion never repaints it.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from math import ceil
from typing import Any, NamedTuple

import numpy as np
import torch
from diffusers import (
    ControlNetModel,
    DPMSolverMultistepScheduler,
    MultiControlNetModel,
    StableDiffusionXLControlNetPAGImg2ImgPipeline,
    StableDiffusionXLPAGImg2ImgPipeline,
)

from models.components import SdxlComponents
from models.errors import InputError
from models.params import NOISE_LEVELS, SdxlParams, schedule_length
from models.passes import PassContext
from models.pictures import Picture, Size, flat, over, size_of
from models.prompts import encode_prompts

SIDES = 32
"""Sides are multiples of it: the VAE's factor 8 times the UNet's two halvings (spec/omni-bg.md 1.5 S0)."""


class Control(NamedTuple):
    """A ControlNet to run: its map is RGB of the working size."""

    net: ControlNetModel
    map: Picture
    scale: float


def sdxl(params: SdxlParams, context: PassContext, *, placed: Picture, scene: Picture | None = None,
         outpaint: Picture | None = None, lines: Picture | None = None, depth: Picture | None = None) -> Picture:
    """RGB of placed's size: the new scene, with the product over it (where its alpha is 255, placed's own bytes).

    placed: the product, RGBA, sides multiples of 32. It starts from `scene` with the product pasted on or, without one,
    from the product before a flat grey of params.brightness; exactly one of the two is given. outpaint, lines, depth:
    control maps, RGB of the same size, each needed where its scale is above 0; a net of scale 0 is not run.

    Makes exactly params.steps model calls, whatever the strength; strength 0 makes none and returns the start. All
    weights of role "sdxl" share one device and dtype. Raises InputError for sides that are no multiples of 32 and for a
    strength too small for so many steps, ValueError for inputs that contradict one another.
    """
    size = size_of(placed)
    _check(size, {"scene": scene, "outpaint": outpaint, "lines": lines, "depth": depth})
    start = _start(params, placed, scene)
    if params.strength == 0:
        return start if scene is None else scene
    given = (("outpaint", outpaint, params.outpaint_scale),
             ("lines", lines, params.line_scale),
             ("depth", depth, params.depth_scale))
    for role, control_map, scale in given:
        if control_map is None and scale > 0:
            raise ValueError(f"{role} is missing and its scale is {scale}: give the map, or the scale 0")
    controls = [Control(context.models[f"controlnet_{role}"], control_map, scale)
                for role, control_map, scale in given if control_map is not None and scale > 0]
    with torch.inference_mode():
        generated = _generate(params, context, start, controls)
    return over(placed, generated)


def checked_length(steps: int, strength: float) -> int:
    """The schedule's length. Raises InputError above 1,000, the number of noise levels."""
    length = schedule_length(steps, strength)
    if length > NOISE_LEVELS:
        raise InputError(
            f"steps={steps} at this strength are the last part of a schedule of {length}, and there are only "
            f"{NOISE_LEVELS} noise levels", field="strength", value=strength,
            remedy=f"Use a strength of at least {steps / NOISE_LEVELS:g}, or fewer steps; strength 0 keeps the start")
    return length


def _check(size: Size, pictures: dict[str, Picture | None]) -> None:
    for side, pixels in size._asdict().items():
        if pixels % SIDES:
            raise InputError(f"not a multiple of {SIDES}", field=side, value=pixels,
                             remedy=f"Use {ceil(pixels / SIDES) * SIDES}")
    for role, picture in pictures.items():
        if picture is not None and picture.shape != (*size, 3):  # diffusers would stretch it without a word
            raise ValueError(f"{role} has shape {picture.shape}; placed needs RGB of {size.height} x {size.width}")


def _start(params: SdxlParams, placed: Picture, scene: Picture | None) -> Picture:
    """The picture to be noised. Its grey tells even at strength 1: the last noise level keeps 0.068 of the signal, so
    it is the brightness control (spec/omni-bg.md 1.5 S3, reading A: grey 127.5 (brightness + 1))."""
    if scene is not None and params.brightness is None:
        return over(placed, scene)
    if scene is None and params.brightness is not None:
        return over(placed, flat(size_of(placed), round(127.5 * (params.brightness + 1))))
    raise ValueError(f"give exactly one of scene and brightness: scene is {'missing' if scene is None else 'given'}, "
                     f"brightness={params.brightness}")


def _generate(params: SdxlParams, context: PassContext, start: Picture, controls: list[Control]) -> Picture:
    """One run of the pipeline, RGB. A fresh pipeline, scheduler and generator each: step state leaks otherwise."""
    weights: SdxlComponents = context.models["sdxl"]
    length = checked_length(params.steps, params.strength)
    text = encode_prompts(weights, params.prompt, params.negative_prompt)
    size = tuple(size_of(start))

    def count(pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        context.called(params.steps)
        return {}

    with _attention_as_found(weights.unet):
        made = _pipeline(weights, controls)(
            image=_tensor(start),
            **_control_arguments(controls),
            prompt_embeds=text.positive, negative_prompt_embeds=text.negative,
            pooled_prompt_embeds=text.pooled, negative_pooled_prompt_embeds=text.negative_pooled,
            num_inference_steps=length,
            # diffusers runs int(length x strength): half a step more, or 29 steps at 0.29 would be 28.
            strength=min(1.0, (params.steps + 0.5) / length),
            guidance_scale=params.guidance_scale, pag_scale=params.pag_scale,
            # On the CPU, so that every device draws the same noise.
            generator=torch.Generator("cpu").manual_seed(params.seed),
            # The working size, not the photo's: SDXL would imitate a small or cropped original (Podell et al. 2.2).
            original_size=size, target_size=size,
            output_type="pt", callback_on_step_end=count).images
    return _picture(made)


def _pipeline(weights: SdxlComponents, controls: list[Control]) -> Any:
    """diffusers' pipeline around the shared modules; nothing is copied. SdxlComponents is named as its arguments are.

    PAG on the middle block's self-attention: the paper's choice and the pipelines' default (Ahn et al., arXiv
    2403.17377).
    """
    parts = {**vars(weights), "scheduler": _scheduler(), "pag_applied_layers": "mid", "add_watermarker": False}
    if controls:
        nets = MultiControlNetModel([control.net for control in controls])
        pipeline = StableDiffusionXLControlNetPAGImg2ImgPipeline(**parts, controlnet=nets)
    else:
        pipeline = StableDiffusionXLPAGImg2ImgPipeline(**parts)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _control_arguments(controls: list[Control]) -> dict[str, Any]:
    if not controls:
        return {}
    return {"control_image": [_tensor(control.map) for control in controls],
            "controlnet_conditioning_scale": [control.scale for control in controls]}


def _scheduler() -> DPMSolverMultistepScheduler:
    """DPM++ SDE on Karras sigmas, as in spec/omni-bg.md 1.3; the betas are those of SDXL's scheduler_config.json.

    Karras sigmas begin at the last noise level, where least of the start shows through, and overrule the spacing, which
    is given for whoever turns them off: leading would begin ten steps at level 901 and show nearly twice as much.
    """
    return DPMSolverMultistepScheduler(
        num_train_timesteps=NOISE_LEVELS, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
        algorithm_type="sde-dpmsolver++", use_karras_sigmas=True, timestep_spacing="trailing", steps_offset=1)


@contextmanager
def _attention_as_found(unet: Any) -> Generator[None]:
    """Put the UNet's attention processors back. diffusers does at the end of a run, but not when a step is cancelled,
    and the module is shared with the passes to come."""
    found = unet.attn_processors
    try:
        yield
    finally:
        unet.set_attn_processor(found)


def _tensor(picture: Picture) -> torch.Tensor:
    """(1, 3, height, width) in 0..1, float32, on the CPU; the pipelines normalise and move it themselves."""
    return torch.tensor(picture).permute(2, 0, 1)[None] / 255.0


def _picture(decoded: torch.Tensor) -> Picture:
    """The decoder's (1, 3, height, width) in 0..1 as 8 bits. A VAE run in float16 overflows to NaN: not a picture."""
    if not torch.isfinite(decoded).all():
        raise FloatingPointError(f"the VAE decoded to values that are not finite in {decoded.dtype}")
    return np.asarray((decoded[0].permute(1, 2, 0).float() * 255).round().byte().cpu().numpy(), dtype=np.uint8)
