"""ControlNets: what a map adds to the UNet's skips, at each step (Zhang et al. 2023, arXiv 2302.05543)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, NamedTuple

import torch

from models.sdxl import unet
from models.sdxl.text import Text


class Control(NamedTuple):
    """A ControlNet to run. map: (pictures, 3, height, width) in 0..1."""

    net: Any  # diffusers.ControlNetModel
    map: torch.Tensor
    scale: float


class Residuals(NamedTuple):
    """What is added to the UNet: one tensor for each of its skips, first to last, and one for its middle."""

    across: list[torch.Tensor]
    middle: torch.Tensor


Prepared = Callable[[torch.Tensor, torch.Tensor], Residuals]
"""(noised rows, timestep) -> residuals of the same rows."""


def prepare(control: Control, text: Text, size: tuple[int, int], *, keep_hint: bool = True) -> Prepared:
    """A ControlNet ready to be stepped. keep_hint: its reading of the map is made here, once; else at each step."""
    net, told = control.net, unet.condition(control.net, text, size)
    pictures = control.map.to(told.text)
    repeats = len(told.text) // len(pictures)
    hint = net.controlnet_cond_embedding(pictures).repeat(repeats, 1, 1, 1) if keep_hint else None

    def residuals(rows: torch.Tensor, timestep: torch.Tensor) -> Residuals:
        read = net.controlnet_cond_embedding(pictures.repeat(repeats, 1, 1, 1)) if hint is None else hint
        embedded = unet.embed(net, timestep, told.added)
        hidden, across = unet.down(net, net.conv_in(rows) + read, embedded, told.text)
        hidden = unet.middle(net, hidden, embedded, told.text)
        return Residuals([block(skip) * control.scale for block, skip in zip(
            net.controlnet_down_blocks, across, strict=True)], net.controlnet_mid_block(hidden) * control.scale)

    return residuals


def together(residuals: Sequence[Residuals]) -> Residuals:
    """The sum of several nets' residuals."""
    return reduce(lambda one, other: Residuals(
        [a + b for a, b in zip(one.across, other.across, strict=True)], one.middle + other.middle), residuals)
