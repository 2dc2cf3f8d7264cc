"""ControlNets: what a map adds to the UNet's skips, at each step (Zhang et al. 2023, arXiv 2302.05543)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, NamedTuple, Protocol

import torch

from models.sdxl import unet
from models.sdxl.text import Text


class Residuals(NamedTuple):
    """What is added to the UNet: one tensor for each of its skips, first to last, and one for its middle."""

    across: list[torch.Tensor]
    middle: torch.Tensor


Prepared = Callable[[torch.Tensor, torch.Tensor], Residuals]
"""(noised rows, timestep) -> residuals of the same rows."""


class Steering(Protocol):
    """What can be prepared to steer a run. idle: it would add nothing."""

    @property
    def idle(self) -> bool: ...

    def prepare(self, text: Text, size: tuple[int, int], *, keep_hint: bool = True) -> Prepared:
        """Ready to be stepped. keep_hint: the net's reading of its map is made here, once; else at each step."""


class Control(NamedTuple):
    """A ControlNet to run. map: (pictures, 3, height, width) in 0..1."""

    net: Any  # diffusers.ControlNetModel
    map: torch.Tensor
    scale: float

    @property
    def idle(self) -> bool:
        return self.scale == 0

    def prepare(self, text: Text, size: tuple[int, int], *, keep_hint: bool = True) -> Prepared:
        """See Steering.prepare."""
        net, told = self.net, unet.condition(self.net, text, size)
        pictures = self.map.to(told.text)
        repeats = len(told.text) // len(pictures)
        hint = net.controlnet_cond_embedding(pictures).repeat(repeats, 1, 1, 1) if keep_hint else None

        def residuals(rows: torch.Tensor, timestep: torch.Tensor) -> Residuals:
            read = net.controlnet_cond_embedding(pictures.repeat(repeats, 1, 1, 1)) if hint is None else hint
            return residuals_of(net, net.conv_in(rows) + read, timestep, told, self.scale)

        return residuals


def residuals_of(net: Any, hidden: torch.Tensor, timestep: torch.Tensor, told: unet.Condition, scale: float,
                 ) -> Residuals:
    """From behind its first convolution and the hint to what the net adds."""
    embedded = unet.embed(net, timestep, told.added)
    hidden, across = unet.down(net, hidden, embedded, told.text)
    hidden = unet.middle(net, hidden, embedded, told.text)
    return Residuals([block(skip) * scale for block, skip in zip(net.controlnet_down_blocks, across, strict=True)],
                     net.controlnet_mid_block(hidden) * scale)


def together(residuals: Sequence[Residuals]) -> Residuals:
    """The sum of several nets' residuals."""
    return reduce(lambda one, other: Residuals(
        [a + b for a, b in zip(one.across, other.across, strict=True)], one.middle + other.middle), residuals)
