"""Classifier-free and perturbed-attention guidance in one batch: which rows there are, and how their noises combine.

Rows stand in the order negative, positive, perturbed; each is a whole batch of pictures. The perturbed row is the
positive one again, but its self-attention in the named layers attends to nothing but itself (Ahn et al. 2024, arXiv
2403.17377). The negative one is left out at guidance 1, the perturbed one at PAG 0.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.attention_processor import (
    Attention,
    PAGCFGIdentitySelfAttnProcessor2_0,
    PAGIdentitySelfAttnProcessor2_0,
)

from models.sdxl.text import PromptEmbeddings, Text


@dataclass(frozen=True, kw_only=True)
class Guidance:
    """scale: 1 is none. pag_scale: 0 is none. pag_layers: beginnings of module names whose self-attention is perturbed;
    the middle block is the paper's choice and diffusers' default."""

    scale: float
    pag_scale: float
    pag_layers: tuple[str, ...] = ("mid_block",)

    @property
    def negative(self) -> bool:
        return self.scale > 1

    @property
    def perturbed(self) -> bool:
        return self.pag_scale > 0

    @property
    def rows(self) -> int:
        """How many rows enter: all but the perturbed one."""
        return 2 if self.negative else 1

    @property
    def perturbs_late(self) -> bool:
        """Whether the perturbed row is the positive one until the UNet's middle."""
        return self.perturbed and all(layer.startswith(("mid_block", "up_blocks")) for layer in self.pag_layers)

    def text(self, prompts: PromptEmbeddings) -> Text:
        """The entering rows' text."""
        if not self.negative:
            return prompts.positive
        return Text(*(torch.cat(both) for both in zip(prompts.negative, prompts.positive, strict=True)))

    def enter(self, latents: torch.Tensor) -> torch.Tensor:
        """(pictures, …) -> (entering rows x pictures, …)"""
        return torch.cat([latents] * self.rows)

    def widen(self, entered: torch.Tensor) -> torch.Tensor:
        """The entering rows and, where there is one, the perturbed: the positive once more."""
        return torch.cat([entered, entered.chunk(self.rows)[-1]]) if self.perturbed else entered

    def combine(self, noise: torch.Tensor) -> torch.Tensor:
        """All rows -> (pictures, …): negative + scale (positive - negative) + PAG (positive - perturbed)."""
        rows = list(noise.chunk(self.rows + self.perturbed))
        perturbed = rows.pop() if self.perturbed else None
        positive = rows[-1]
        guided = rows[0] + self.scale * (positive - rows[0]) if self.negative else positive
        return guided if perturbed is None else guided + self.pag_scale * (positive - perturbed)

    @contextmanager
    def perturbing(self, unet: Any) -> Generator[None]:
        """While the block runs, the last row of the named layers' self-attention is the identity. The UNet is shared
        with passes to come, so its processors are put back whatever happens."""
        if not self.perturbed:
            yield
            return
        found = unet.attn_processors
        perturb = PAGCFGIdentitySelfAttnProcessor2_0() if self.negative else PAGIdentitySelfAttnProcessor2_0()
        layers = [module for name, module in unet.named_modules()
                  if isinstance(module, Attention) and not module.is_cross_attention
                  and name.startswith(self.pag_layers)]
        if not layers:
            raise ValueError(f"pag_layers={self.pag_layers}: no self-attention of the UNet has such a name")
        try:
            for layer in layers:
                layer.processor = perturb
            yield
        finally:
            unet.set_attn_processor(found)
