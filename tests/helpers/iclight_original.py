"""What `process` of IC-Light's two demos computes, written down once more: the oracle of our own loop.

One straight line through diffusers' own pipelines, which the demos use too, after tests/parity/README.md and the facts
in spec/omni-bg.md 2 (lllyasviel/IC-Light at bcf3f29). Nothing of models/ is imported, so that a mistake there cannot be
here as well; tests/models/test_iclight_parity.py holds it against the arrays that the original code gave.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionImg2ImgPipeline, StableDiffusionPipeline
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
NEGATIVE = "lowres, bad anatomy, bad hands, cropped, worst quality"
LIGHTS = ("Left Light", "Right Light", "Top Light", "Bottom Light")


@cache
def recipe() -> ModuleType:
    """tests/parity/tiny_sd15.py, as it was when the arrays were made."""
    path = Path(__file__).parents[1] / "parity" / "tiny_sd15.py"
    spec = importlib.util.spec_from_file_location("tiny_sd15", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def drawn(width: int, height: int, seed: int) -> Pixels:
    """A picture of soft blots. Its sides need not be multiples of 16."""
    small = np.random.RandomState(seed).randint(0, 256, (height // 16, width // 16, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


@dataclass(frozen=True, kw_only=True)
class Case:
    """What a user of a demo can set. light: of `LIGHTS`; for fc also "None" and for fbc "Ambient", "Upload" and
    "Flipped"."""

    model: Literal["fc", "fbc"]
    light: str
    foreground: Pixels
    background: Pixels
    prompt: str = "a brass lamp on marble"
    added: str = "best quality"
    negative: str = NEGATIVE
    width: int = 64
    height: int = 128
    images: int = 1
    seed: int = 12345
    steps: int = 4
    guidance: float = 7.0
    highres_scale: float = 1.5
    highres_denoise: float = 0.5
    lowres_denoise: float = 0.9


def cover(picture: Pixels, width: int, height: int) -> Pixels:
    high, wide, _ = picture.shape
    scale = max(width / wide, height / high)
    large = Image.fromarray(picture).resize((round(wide * scale), round(high * scale)),
                                             Image.Resampling.LANCZOS)
    left, top = (large.width - width) / 2, (large.height - height) / 2
    return np.asarray(large.crop((left, top, left + width, top + height)))


def gradient(light: str, width: int, height: int, bright: int, dark: int) -> Pixels:
    """Grey, from where the light comes to the other side."""
    across = light in ("Left Light", "Right Light")
    ends = (bright, dark) if light in ("Left Light", "Top Light") else (dark, bright)
    ramp = np.linspace(*ends, width if across else height)
    field = np.tile(ramp, (height, 1)) if across else np.tile(ramp[:, None], (1, width))
    return np.dstack([field] * 3).astype(np.uint8)


def lit_from(case: Case) -> Pixels | None:
    """fbc: the background; fc: the picture to start from, if any. A gradient has the size of stage 1."""
    if case.light in LIGHTS:
        return gradient(case.light, case.width, case.height, *((255, 0) if case.model == "fc" else (224, 32)))
    return {"None": None, "Ambient": np.full((case.height, case.width, 3), 64, np.uint8),
            "Upload": case.background, "Flipped": np.fliplr(case.background)}[case.light]


def large_size(case: Case) -> tuple[int, int]:
    """(width, height) of stage 2."""
    return round(case.width * case.highres_scale / 64) * 64, round(case.height * case.highres_scale / 64) * 64


@cache
@torch.inference_mode(False)  # called under it, the weights would be tensors that take other kernels: other last bits
def pipelines(model: Literal["fc", "fbc"]) -> tuple[StableDiffusionPipeline, StableDiffusionImg2ImgPipeline]:
    parts = recipe()
    unet = parts.unet()
    offsets = parts.offsets(4 if model == "fc" else 8)
    narrow = unet.conv_in
    unet.conv_in = torch.nn.Conv2d(offsets["conv_in.weight"].shape[1], narrow.out_channels, 3, padding=1)
    base = unet.state_dict() | {"conv_in.bias": narrow.bias.detach()}
    base["conv_in.weight"] = torch.zeros_like(offsets["conv_in.weight"])
    base["conv_in.weight"][:, :4] = narrow.weight.detach()
    unet.load_state_dict({name: base[name] + offsets[name] for name in base})

    def beside(module: Any, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        condition = named.pop("cross_attention_kwargs")["condition"]
        condition = torch.cat([condition] * (len(given[0]) // len(condition)))
        return (torch.cat([given[0], condition], dim=1), *given[1:]), named

    unet.register_forward_pre_hook(beside, with_kwargs=True)
    common = {"vae": parts.vae(), "unet": unet, "text_encoder": parts.text_encoder(), "tokenizer": parts.tokenizer(),
              "safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    made = [kind(**common, scheduler=DPMSolverMultistepScheduler(
                num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, algorithm_type="sde-dpmsolver++",
                use_karras_sigmas=True, steps_offset=1))
            for kind in (StableDiffusionPipeline, StableDiffusionImg2ImgPipeline)]
    for pipe in made:
        pipe.set_progress_bar_config(disable=True)
    return made[0], made[1]


@torch.inference_mode()
def process(case: Case) -> NDArray[np.float32]:
    """Pixels (images, height, width, 3) in 0..1, of stage 2; for fc multiples of 1 / 255."""
    noise_first, picture_first = pipelines(case.model)
    vae, tokenizer, encoder = noise_first.vae, noise_first.tokenizer, noise_first.text_encoder

    def chunks(text: str) -> list[torch.Tensor]:
        ids = tokenizer(text, truncation=False, add_special_tokens=False, verbose=False)["input_ids"]
        rows = [[998, *ids[at:at + 75]] for at in range(0, len(ids), 75)]
        return list(encoder(torch.tensor([row + [999] * (77 - len(row)) for row in rows])).last_hidden_state)

    def encoded(*pictures: Pixels) -> torch.Tensor:
        tensor = torch.from_numpy(np.stack(pictures).astype(np.float32) / 127.0 - 1.0).permute(0, 3, 1, 2)
        return vae.encode(tensor).latent_dist.mode() * 0.18215

    def beside(width: int, height: int) -> torch.Tensor:
        pictures = [case.foreground] if case.model == "fc" else [case.foreground, source]
        return torch.cat(list(encoded(*(cover(picture, width, height) for picture in pictures))))[None]

    positive, negative = chunks(f"{case.prompt}, {case.added}"), chunks(case.negative)
    count = max(len(positive), len(negative))
    texts = {name: torch.cat([rows[index % len(rows)] for index in range(count)])[None]
             for name, rows in (("prompt_embeds", positive), ("negative_prompt_embeds", negative))}
    common = {**texts, "guidance_scale": case.guidance, "num_images_per_prompt": case.images, "output_type": "latent",
              "generator": torch.Generator("cpu").manual_seed(case.seed)}
    source = lit_from(case)

    condition = {"condition": beside(case.width, case.height)}
    if case.model == "fbc" or source is None:
        latents = noise_first(**common, cross_attention_kwargs=condition, width=case.width, height=case.height,
                              num_inference_steps=case.steps).images
    else:
        latents = picture_first(**common, cross_attention_kwargs=condition,
                                image=torch.cat([encoded(source)] * case.images), strength=case.lowres_denoise,
                                num_inference_steps=round(case.steps / case.lowres_denoise)).images

    decoded = vae.decode(latents / 0.18215).sample.permute(0, 2, 3, 1).numpy()
    small = np.clip(decoded * 127.5 + 127.5, 0, 255).astype(np.uint8)
    size = large_size(case)
    start = encoded(*(np.asarray(Image.fromarray(one).resize(size, Image.Resampling.LANCZOS)) for one in small))

    latents = picture_first(**common, cross_attention_kwargs={"condition": beside(*size)}, image=start,
                            strength=case.highres_denoise,
                            num_inference_steps=round(case.steps / case.highres_denoise)).images
    decoded = vae.decode(latents / 0.18215).sample.permute(0, 2, 3, 1).numpy()
    if case.model == "fc":
        return np.clip(decoded * 127.5 + 127.5, 0, 255).astype(np.uint8).astype(np.float32) / 255
    return np.clip(decoded * 0.5 + 0.5, 0, 1).astype(np.float32)
