"""SDXL's UNet taken apart into the stages that `UNet2DConditionModel.forward` runs, so that rows may join between them.

A ControlNet is a UNet's first half, so the first stages serve it too. What diffusers 0.42.1's forward does for other
models (class labels, adapters, sizes that do not halve evenly) is left out: SDXL has none of it, and a picture's sides
are multiples of 32.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from models.sdxl.text import Text


class Condition(NamedTuple):
    """What a net is told besides the timestep, the same at every step.

    text: (rows, tokens, width); added: (rows, 4 x its first width), its reading of the pooled text and of the sizes.
    """

    text: torch.Tensor
    added: torch.Tensor


def condition(net: Any, text: Text, size: tuple[int, int]) -> Condition:
    """size: (height, width) in pixels, told as the original's and the target's, uncropped: SDXL would imitate a small
    or a cropped original (Podell et al. 2023, 2.2)."""
    rows = len(text.pooled)
    sizes = torch.tensor([*size, 0, 0, *size], dtype=torch.float32, device=text.pooled.device)
    told = net.add_time_proj(sizes).reshape(1, -1).expand(rows, -1)
    return Condition(text.sequence, net.add_embedding(torch.cat([text.pooled, told.to(text.pooled.dtype)], dim=-1)))


def embed(net: Any, timestep: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
    """The timestep and what was added, (rows, 4 x first width): every block of the net gets it."""
    levels = net.time_proj(timestep.reshape(1).to(added.device)).to(added.dtype)
    return net.time_embedding(levels) + added


def down(net: Any, hidden: torch.Tensor, embedded: torch.Tensor, text: torch.Tensor,
         ) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """From behind `conv_in` to the lowest resolution, and what is handed across: hidden itself and each layer's output,
    first to last."""
    across = [hidden]
    for block in net.down_blocks:
        if getattr(block, "has_cross_attention", False):
            hidden, made = block(hidden_states=hidden, temb=embedded, encoder_hidden_states=text)
        else:
            hidden, made = block(hidden_states=hidden, temb=embedded)
        across.extend(made)
    return hidden, across


def middle(net: Any, hidden: torch.Tensor, embedded: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
    return net.mid_block(hidden, embedded, encoder_hidden_states=text)


def up(unet: Any, hidden: torch.Tensor, across: list[torch.Tensor], embedded: torch.Tensor, text: torch.Tensor,
       ) -> torch.Tensor:
    """Back to the latents' resolution: the predicted noise."""
    left = list(across)
    for block in unet.up_blocks:
        layers = len(block.resnets)
        taken, left = tuple(left[-layers:]), left[:-layers]
        if getattr(block, "has_cross_attention", False):
            hidden = block(hidden_states=hidden, temb=embedded, res_hidden_states_tuple=taken,
                           encoder_hidden_states=text)
        else:
            hidden = block(hidden_states=hidden, temb=embedded, res_hidden_states_tuple=taken)
    return unet.conv_out(unet.conv_act(unet.conv_norm_out(hidden)))
