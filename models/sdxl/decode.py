"""Latents as pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from models.pictures import Picture
from models.sdxl.encode import checked


def decode(vae: Any, latents: torch.Tensor) -> list[Picture]:
    """(pictures, 4, height / 8, width / 8) -> RGB of eight times the sides. Raises FloatingPointError for values that
    are no picture: NaN would otherwise come out black."""
    decoded = checked(vae).decode((latents / vae.config.scaling_factor).to(vae.dtype)).sample.float()
    if not torch.isfinite(decoded).all():
        raise FloatingPointError(f"the VAE decoded to values that are not finite in {vae.dtype}")
    levels = ((decoded / 2 + 0.5).clamp(0, 1) * 255).round().byte()
    return [np.ascontiguousarray(one) for one in levels.permute(0, 2, 3, 1).cpu().numpy()]
