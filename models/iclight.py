"""IC-Light (Zhang et al., ICLR 2025) as a thin loop over diffusers' components: relights a picture in stages.

Its Stable Diffusion 1.5 UNet sees condition pictures as further latent channels behind the noise. The mechanism and its
constants are those of gradio_demo_bg.py in lllyasviel/IC-Light at bcf3f29 (spec/omni-bg.md 2), proven by
tests/models/test_iclight_parity.py. No pipeline and no patched forward: we concatenate the channels ourselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler
from PIL import Image

from models.components import IcLightComponents
from models.errors import WeightsError
from models.iclight_prompts import TextPair, encode_pair
from models.pictures import Floats, Picture, Size, size_of

LATENT_CHANNELS = 4   # of SD 1.5's VAE, which the noise has too

# The original names no beta schedule, so it runs on the library's default, the linear one (sigmas up to 25.1 and not
# SD 1.5's 14.6; spec/omni-bg.md 2.6). Written out here, so that no default of another version can move it.
SCHEDULE = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "linear",
            "algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": True, "steps_offset": 1}


@dataclass(frozen=True, kw_only=True)
class Request:
    """What all stages share. seed: of one CPU generator. pictures: variants made as one batch from that generator."""

    prompt: str
    negative_prompt: str
    guidance_scale: float
    seed: int
    pictures: int = 1


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One denoising: the last `executed` steps of a schedule of `scheduled`, at the conditions' size.

    conditions: RGB pictures of one size, sides multiples of 64, in the order of the UNet's channels; for FBC the
    foreground on grey 127, then the background. The first stage starts from noise, a later one from the picture before.
    """

    conditions: tuple[Picture, ...]
    scheduled: int
    executed: int


def merge_offsets(unet: Any, offsets: Mapping[str, torch.Tensor]) -> Any:
    """Turn an SD 1.5 UNet into IC-Light's, in place, and return it.

    offsets: a tensor for every key of the widened UNet's state dict (iclight_sd15_{fc,fcon,fbc}.safetensors), which is
    added to it. conv_in grows to as many channels as theirs, the new ones from zero; unet.config.in_channels stays 4,
    because schedulers and pipelines size the noise by it. Raises WeightsError, and leaves the UNet as it was, where
    keys or shapes do not match exactly.
    """
    shapes = {name: tuple(value.shape) for name, value in unet.state_dict().items()}
    offered = {name: tuple(value.shape) for name, value in offsets.items()}
    out_channels, _, *kernel = shapes["conv_in.weight"]
    channels = max(2 * LATENT_CHANNELS, (offered.get("conv_in.weight") or (0, 0))[1])  # one condition or more
    shapes["conv_in.weight"] = (out_channels, channels, *kernel)
    wrong = sorted(name for name in shapes.keys() | offered.keys() if shapes.get(name) != offered.get(name))
    if wrong:
        raise WeightsError(f"{len(wrong)} of its tensors do not belong to this UNet", field="offsets",
                           value=", ".join(wrong[:3]),
                           remedy="Use iclight_sd15_fbc.safetensors of lllyasviel/ic-light with a UNet of SD 1.5")
    with torch.no_grad():
        unet.conv_in = _widened(unet.conv_in, channels)
        for name, value in unet.state_dict().items():
            value += offsets[name].to(device=value.device, dtype=value.dtype)
    return unet


def run_stages(weights: IcLightComponents, request: Request, stages: tuple[Stage, ...],
               called: Callable[[], None] = lambda: None) -> Floats:
    """Relight in stages, usually two: small from noise, then at full size from the small result.

    Returns float32 (request.pictures, height, width, 3), RGB in 0..1, of the last stage's size. `called` is called
    after each UNet evaluation (both guidance branches are one): sum(stage.executed) times; it may raise to cancel.
    Raises FloatingPointError where the VAE decodes to values that are not finite.
    """
    # One generator through all stages, and on the CPU, so that every device draws the same noise.
    generator = torch.Generator("cpu").manual_seed(request.seed)
    with torch.inference_mode():
        text = encode_pair(weights, request.prompt, request.negative_prompt)
        decoded = None
        for stage in stages:
            start = None if decoded is None else _carried_over(weights.vae, decoded, size_of(stage.conditions[0]))
            decoded = _decoded(weights.vae, denoise(weights, request, stage, text, start, generator, called))
    if decoded is None:
        raise ValueError("no stages were given")
    return np.asarray((decoded * 0.5 + 0.5).clamp(0, 1).movedim(1, -1).cpu().numpy(), dtype=np.float32)


def denoise(weights: IcLightComponents, request: Request, stage: Stage, text: TextPair, start: torch.Tensor | None,
            generator: torch.Generator, called: Callable[[], None]) -> torch.Tensor:
    """One stage's latents, float32 (pictures, 4, height / 8, width / 8), from noise or from noised `start` latents.

    Draws from `generator`: the noise, then one of the same shape in each step (the solver is stochastic), the last
    included although its weight is zero. With no step to execute, `start` comes back and nothing is drawn.
    """
    if start is not None and stage.executed == 0:
        return start
    unet = weights.unet
    condition = _condition(weights.vae, stage.conditions).expand(request.pictures, -1, -1, -1)
    scheduler = DPMSolverMultistepScheduler(**SCHEDULE)  # a fresh one for each stage: it keeps step state
    scheduler.set_timesteps(stage.scheduled)
    first = stage.scheduled - stage.executed
    scheduler.set_begin_index(first)
    noise = torch.randn(request.pictures, LATENT_CHANNELS, *condition.shape[-2:], generator=generator)
    latents = noise.to(unet.device)  # the solver's initial scale is 1
    if start is not None:
        latents = scheduler.add_noise(start, latents, scheduler.timesteps[first:first + 1])
    for timestep in scheduler.timesteps[first:]:
        predicted = _guided(unet, latents, condition, timestep, text, request.guidance_scale)
        latents = scheduler.step(predicted, timestep, latents, generator=generator, return_dict=False)[0]
        called()
    return latents


def _guided(unet: Any, latents: torch.Tensor, condition: torch.Tensor, timestep: torch.Tensor, text: TextPair,
            guidance_scale: float) -> torch.Tensor:
    """The predicted noise, float32. Both branches see the condition; the negative one is left out at weight zero."""
    branches = [text.positive] if guidance_scale == 1 else [text.negative, text.positive]
    sample = torch.cat([latents.to(unet.dtype), condition.to(unet.dtype)], dim=1)
    hidden = torch.cat([branch.to(unet.dtype).expand(len(latents), -1, -1) for branch in branches])
    predicted = unet(torch.cat([sample] * len(branches)), timestep, encoder_hidden_states=hidden, return_dict=False)[0]
    parts = predicted.float().chunk(len(branches))
    return parts[0] + guidance_scale * (parts[-1] - parts[0])


def _condition(vae: Any, conditions: tuple[Picture, ...]) -> torch.Tensor:
    """(1, 4 for each picture, height / 8, width / 8): encoded as one batch, then laid along the channels."""
    return _latents(vae, np.stack(conditions)).flatten(0, 1)[None]


def _latents(vae: Any, pictures: Picture) -> torch.Tensor:
    """uint8 (count, height, width, 3) -> float32 (count, 4, height / 8, width / 8): the mode, never a sample."""
    encoded = vae.encode(_normalised(pictures).to(device=vae.device, dtype=vae.dtype)).latent_dist.mode()
    return (encoded * vae.config.scaling_factor).float()


def _normalised(pictures: Picture) -> torch.Tensor:
    """(count, 3, height, width), float32. By 127 and not 127.5, so that the foreground's grey 127 is exactly 0."""
    return torch.from_numpy(pictures).movedim(-1, 1).float() / 127 - 1


def _decoded(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Latents -> float32 (count, 3, height, width), about -1..1."""
    decoded = vae.decode((latents / vae.config.scaling_factor).to(vae.dtype), return_dict=False)[0].float()
    if not torch.isfinite(decoded).all():
        raise FloatingPointError(f"the VAE decoded to values that are not finite in {vae.dtype}")
    return decoded


def _carried_over(vae: Any, decoded: torch.Tensor, size: Size) -> torch.Tensor:
    """One stage's pictures as the next one's start: to 8 bits, resized plainly, encoded again.

    The fraction is dropped, not rounded, as the original does; the parity arrays tell the difference.
    """
    pictures = (decoded * 127.5 + 127.5).clamp(0, 255).byte().movedim(1, -1).cpu().numpy()
    resized = [np.asarray(Image.fromarray(picture).resize((size.width, size.height), Image.Resampling.LANCZOS))
               for picture in pictures]
    return _latents(vae, np.stack(resized))


def _widened(conv: torch.nn.Conv2d, channels: int) -> torch.nn.Conv2d:
    """The same convolution with `channels` inputs: the first ones' weights as they were, the new ones' zero."""
    wide = torch.nn.Conv2d(channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding,
                           device=conv.weight.device, dtype=conv.weight.dtype)
    wide.weight.zero_()
    wide.weight[:, :conv.in_channels] = conv.weight
    wide.bias = conv.bias
    return wide
