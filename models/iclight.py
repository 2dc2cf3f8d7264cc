"""IC-Light (Zhang et al., ICLR 2025) as a thin loop over diffusers' components: relights a picture in stages.

Its Stable Diffusion 1.5 UNet sees condition pictures as further latent channels behind the noise. The mechanism and its
constants are those of gradio_demo_bg.py in lllyasviel/IC-Light at bcf3f29 (spec/omni-bg.md 2), proven by
tests/models/test_iclight_parity.py. No pipeline and no patched forward: we concatenate the channels ourselves.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler
from PIL import Image

from models.components import IcLightComponents
from models.errors import WeightsError
from models.iclight_prompts import Texts, encode_texts
from models.pictures import Floats, Picture, Size, size_of

LATENT_CHANNELS = 4   # of SD 1.5's VAE, which the noise has too

# The original names no beta schedule, so it runs on the library's default, the linear one (sigmas up to 25.1 and not
# SD 1.5's 14.6; spec/omni-bg.md 2.6). Written out here, so that no default of another version can move it.
SCHEDULE = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "linear",
            "algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": True, "steps_offset": 1}


@dataclass(frozen=True, kw_only=True)
class Request:
    """What all stages share. seed: of one CPU generator. pictures: variants made together from that generator."""

    prompt: str
    negative_prompt: str
    guidance_scale: float
    seed: int
    pictures: int = 1


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One denoising: the last `executed` steps of a schedule of `scheduled`, at the conditions' size.

    conditions: RGB pictures of one size, sides multiples of 8, in the order of the UNet's channels; for FBC the
    foreground on grey 127, then the background; for FC the foreground alone. start: an RGB picture of that size to
    begin from (FC's gradient); without one the first stage begins from noise, a later one from the pictures before.
    """

    conditions: tuple[Picture, ...]
    scheduled: int
    executed: int
    start: Picture | None = None

    @property
    def kind(self) -> Hashable:
        """Equal for stages that can run as one."""
        shapes = tuple(picture.shape for picture in self.conditions)
        return shapes, None if self.start is None else self.start.shape, self.scheduled, self.executed


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


def run_stages(weights: IcLightComponents, request: Request, stages: Sequence[Stage],
               called: Callable[[], None] = lambda: None) -> Floats:
    """Relight in stages, usually two: small from noise, then at full size from the small result.

    Returns float32 (request.pictures, height, width, 3), RGB in 0..1, of the last stage's size. `called` is called
    after each UNet evaluation (both guidance branches are one): sum(stage.executed) times; it may raise to cancel.
    Raises FloatingPointError where the VAE decodes to values that are not finite.
    """
    [made] = run_together(weights, [request], [stages], called)
    return made


def run_together(weights: IcLightComponents, requests: Sequence[Request], stages: Sequence[Sequence[Stage]],
                 called: Callable[[], None] = lambda: None) -> list[Floats]:
    """`run_stages` for several requests with the UNet evaluations of one; stages: those of each request.

    Each comes out as it would alone, but for rounding: within 1e-5 of a stage's latents in float32. Between stages
    pictures drop to 8 bits, where rounding may tip a value over to the next level; what a second stage made of that
    was at most one level from 3 steps on, and three levels with 2 (tests/models/test_iclight.py has the measurement).
    Prompts may take different numbers of chunks. Raises ValueError unless the requests share their guidance scale and,
    stage by stage, sizes and steps.
    """
    if len({(one.guidance_scale, *(stage.kind for stage in own))
            for one, own in zip(requests, stages, strict=True)}) != 1:
        raise ValueError("these requests cannot share a batch: they differ in guidance scale, sizes or steps")
    noise, pictures = Noise(requests), [one.pictures for one in requests]
    decoded = None
    with torch.inference_mode():
        text = encode_texts(weights, [(one.prompt, one.negative_prompt) for one in requests])
        predict = Predictor(weights.unet, Texts(*(_per_picture(rows, pictures) for rows in text)),
                            requests[0].guidance_scale)
        for together in zip(*stages, strict=True):
            condition = _per_picture(_condition(weights.vae, together), pictures)
            start = _start(weights.vae, together, pictures, decoded)
            decoded = _decoded(weights.vae, denoise(predict, together[0], condition, start, noise, called))
    if decoded is None:
        raise ValueError("no stages were given")
    made = (decoded * 0.5 + 0.5).clamp(0, 1).movedim(1, -1).cpu()
    return [np.asarray(own.numpy(), dtype=np.float32) for own in made.split(pictures)]


class Noise:
    """All noise of a run: from one CPU generator a request, so that every device draws the same and no request changes
    another's. The variants of a request are drawn together, as the original draws them."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self._sources = [(torch.Generator("cpu").manual_seed(one.seed), one.pictures) for one in requests]

    def draw(self, like: torch.Tensor) -> torch.Tensor:
        """Float32 (pictures of all requests, 4, height, width) for a `like` of any channels, on its device."""
        return torch.cat([torch.randn(pictures, LATENT_CHANNELS, *like.shape[-2:], generator=generator)
                          for generator, pictures in self._sources]).to(like.device)


def denoise(predict: Predictor, stage: Stage, condition: torch.Tensor, start: torch.Tensor | None, noise: Noise,
            called: Callable[[], None]) -> torch.Tensor:
    """One stage's latents, float32 (pictures, 4, height / 8, width / 8), from noise or from noised `start` latents.

    Draws the noise, then one of the same shape in each step (the solver is stochastic), the last included although its
    weight is zero. With no step to execute, `start` comes back and nothing is drawn.
    """
    if start is not None and stage.executed == 0:
        return start
    scheduler = DPMSolverMultistepScheduler(**SCHEDULE)  # a fresh one for each stage: it keeps step state
    scheduler.set_timesteps(stage.scheduled)
    first = stage.scheduled - stage.executed
    scheduler.set_begin_index(first)
    latents = noise.draw(condition)  # the solver's initial scale is 1
    if start is not None:
        latents = scheduler.add_noise(start, latents, scheduler.timesteps[first:first + 1])
    for timestep in scheduler.timesteps[first:]:
        predicted = predict(latents, condition, timestep)
        latents = scheduler.step(predicted, timestep, latents, variance_noise=noise.draw(latents)).prev_sample
        called()
    return latents


class Predictor:
    """The UNet with what it is told: both guidance branches, or at scale 1, where the negative one has no weight, the
    positive one alone. text: a row a picture."""

    def __init__(self, unet: Any, text: Texts, guidance_scale: float) -> None:
        self._unet, self._scale = unet, guidance_scale
        self._branches = 2 if guidance_scale > 1 else 1
        self._hidden = torch.cat([text.negative, text.positive][-self._branches:]).to(unet.dtype)
        self._mask = None if text.mask.all() else torch.cat([text.mask] * self._branches)

    def __call__(self, latents: torch.Tensor, condition: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        """The predicted noise, float32. Both branches see the condition."""
        sample = torch.cat([latents, condition], dim=1).to(self._unet.dtype)
        rows = self._unet(torch.cat([sample] * self._branches), timestep, encoder_hidden_states=self._hidden,
                          encoder_attention_mask=self._mask, return_dict=False)[0]
        parts = rows.float().chunk(self._branches)
        return parts[0] + self._scale * (parts[-1] - parts[0])


def _per_picture(rows: torch.Tensor, pictures: Sequence[int]) -> torch.Tensor:
    """A row a request -> a row a picture."""
    return torch.cat([row for row, count in zip(rows.split(1), pictures, strict=True) for _ in range(count)])


def _condition(vae: Any, stages: Sequence[Stage]) -> torch.Tensor:
    """(requests, 4 for each condition, height / 8, width / 8): encoded as one batch, then laid along the channels."""
    encoded = _latents(vae, np.stack([picture for stage in stages for picture in stage.conditions]))
    return encoded.unflatten(0, (len(stages), -1)).flatten(1, 2)


def _start(vae: Any, stages: Sequence[Stage], pictures: Sequence[int], before: torch.Tensor | None,
           ) -> torch.Tensor | None:
    """Latents a picture that a stage begins from: given, or those of the stage before; None for noise."""
    given = [stage.start for stage in stages if stage.start is not None]
    if given:
        return _per_picture(_latents(vae, np.stack(given)), pictures)
    return None if before is None else _carried_over(vae, before, size_of(stages[0].conditions[0]))


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
