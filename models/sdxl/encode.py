"""A picture as latents, and what both ends of the VAE ask of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from models.errors import PassError
from models.sdxl.schedule import draw


def encode(vae: Any, pictures: torch.Tensor, generators: Sequence[torch.Generator]) -> torch.Tensor:
    """(pictures, 3, height, width) in 0..1 -> scaled latents (pictures, 4, height / 8, width / 8), drawn from the
    distribution that the VAE gives, each by its own generator."""
    found = checked(vae).encode((2 * pictures - 1).to(vae.device, vae.dtype)).latent_dist
    drawn: torch.Tensor = found.mean + found.std * draw(generators, found.mean)
    return drawn * vae.config.scaling_factor


def checked(vae: Any) -> Any:
    """The VAE, if its dtype can hold what it computes. diffusers would run SDXL's own in float32 without a word where
    float16 was asked for: five times the time (spec/performance.md 0, finding 8)."""
    if vae.dtype == torch.float16 and vae.config.force_upcast:
        raise PassError("SDXL's own VAE overflows in it", field="dtype", value="float16",
                        remedy="Use bfloat16, or the VAE weights that were mended for float16 (sdxl-vae-fp16-fix)")
    return vae
