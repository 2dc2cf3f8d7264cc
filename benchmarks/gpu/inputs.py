"""What the nets are called with: random latents, texts and pictures of the working size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.gpu.bench import Bench
from models.pictures import Size
from models.sdxl.text import PromptEmbeddings, Text

TOKENS = 77
"""Of a prompt that fits one chunk."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Makes them on the device, in a net's dtype. net: any UNet or ControlNet that tells the texts' widths."""

    device: str
    dtype: torch.dtype
    size: Size

    @classmethod
    def of(cls, bench: Bench) -> Inputs:
        return cls(device=bench.device, dtype=bench.dtype, size=bench.scale.size)

    def normal(self, *shape: int) -> torch.Tensor:
        return torch.randn(shape, device=self.device, dtype=self.dtype)

    def latents(self, rows: int, channels: int = 4) -> torch.Tensor:
        return self.normal(rows, channels, self.size.height // 8, self.size.width // 8)

    def pictures(self, rows: int, dtype: torch.dtype | None = None) -> torch.Tensor:
        return torch.rand((rows, 3, *self.size), device=self.device, dtype=dtype or self.dtype)

    def text(self, net: Any, rows: int) -> Text:
        width, sizes = net.config.cross_attention_dim, 6 * net.config.addition_time_embed_dim
        pooled = net.config.projection_class_embeddings_input_dim - sizes
        return Text(self.normal(rows, TOKENS, width), self.normal(rows, pooled))

    def prompts(self, net: Any, pictures: int) -> PromptEmbeddings:
        return PromptEmbeddings(self.text(net, pictures), self.text(net, pictures))

    def timestep(self) -> torch.Tensor:
        return torch.tensor(500, device=self.device)

    def told(self, net: Any, rows: int) -> dict[str, Any]:
        """What diffusers' SDXL nets take besides latents and timestep."""
        text = self.text(net, rows)
        sizes = torch.tensor([[*self.size, 0, 0, *self.size]], device=self.device, dtype=self.dtype).expand(rows, -1)
        return {"encoder_hidden_states": text.sequence, "return_dict": False,
                "added_cond_kwargs": {"text_embeds": text.pooled, "time_ids": sizes}}
