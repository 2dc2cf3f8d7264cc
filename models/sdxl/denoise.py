"""The loop: predict the noise, guide it, take a step.

Against diffusers 0.42.1's StableDiffusionXLControlNetPAGImg2ImgPipeline four things are not computed that would come
out the same; `Savings` names them. Tests hold each against the loop without it, and the loop against the pipeline.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from models.sdxl import unet as stages
from models.sdxl.controls import Residuals, Steering, together
from models.sdxl.guidance import Guidance
from models.sdxl.schedule import Schedule
from models.sdxl.text import PromptEmbeddings, Text


@dataclass(frozen=True, kw_only=True)
class Savings:
    """Each is exact. Off only for comparison.

    idle_nets: a ControlNet of scale 0 is not run. control_rows: nets run for the entering rows, and the perturbed row
    takes the positive one's residuals, as nothing of it is perturbed before the UNet's middle. shared_encoder: the
    same for the UNet's own first half, where no layer of it is perturbed. hints: a net reads its map once, not at every
    step.
    """

    idle_nets: bool = True
    control_rows: bool = True
    shared_encoder: bool = True
    hints: bool = True


ALL = Savings()
NONE = Savings(idle_nets=False, control_rows=False, shared_encoder=False, hints=False)


def denoise(unet: Any, latents: torch.Tensor, *, prompts: PromptEmbeddings, controls: Sequence[Steering],
            guidance: Guidance, schedule: Schedule, called: Callable[[], None] = lambda: None,
            savings: Savings = ALL) -> torch.Tensor:
    """latents: (pictures, 4, height / 8, width / 8) at the schedule's first level -> the same without noise.

    called() after each step, of which there are len(schedule.timesteps); it may raise to cancel.
    """
    predictor = Predictor(unet, latents, prompts, controls, guidance, savings)
    with guidance.perturbing(unet):
        for timestep in schedule.timesteps:
            noise = guidance.combine(predictor(latents, timestep))
            latents = schedule.step(noise, timestep, latents).to(latents.dtype)
            called()
    return latents


class Predictor:
    """The UNet with its ControlNets, for the pictures of one run. All rows come out, negative, positive, perturbed."""

    def __init__(self, unet: Any, latents: torch.Tensor, prompts: PromptEmbeddings, controls: Sequence[Steering],
                 guidance: Guidance, savings: Savings = ALL) -> None:
        height, width = (8 * side for side in latents.shape[-2:])
        text = guidance.text(prompts)
        wide = Text(*map(guidance.widen, text))
        self._unet, self._guidance = unet, guidance
        self._late = savings.shared_encoder and guidance.perturbs_late
        self._told = stages.condition(unet, text if self._late else wide, (height, width))
        self._few = savings.control_rows
        self._all = len(wide.pooled)
        self._nets = [control.prepare(text if self._few else wide, (height, width), keep_hint=savings.hints)
                      for control in controls if not (control.idle and savings.idle_nets)]

    def __call__(self, latents: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        widen = self._guidance.widen
        rows = self._guidance.enter(latents)
        added = self._residuals(rows if self._few else widen(rows), timestep)
        embedded, text = stages.embed(self._unet, timestep, self._told.added), self._told.text
        hidden = self._unet.conv_in(rows if self._late else widen(rows))
        hidden, across = stages.down(self._unet, hidden, embedded, text)
        if added is not None:
            across = [self._sum(skip, extra) for skip, extra in zip(across, added.across, strict=True)]
        across = [self._wide(skip) for skip in across]
        hidden, embedded, text = map(self._wide, (hidden, embedded, text))
        hidden = stages.middle(self._unet, hidden, embedded, text)
        if added is not None:
            hidden = self._sum(hidden, added.middle)
        return stages.up(self._unet, hidden, across, embedded, text)

    def _residuals(self, rows: torch.Tensor, timestep: torch.Tensor) -> Residuals | None:
        return together([net(rows, timestep) for net in self._nets]) if self._nets else None

    def _sum(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return one + other if len(one) == len(other) else self._wide(one) + self._wide(other)

    def _wide(self, rows: torch.Tensor) -> torch.Tensor:
        """With the perturbed row, which may be there already."""
        return rows if len(rows) == self._all else self._guidance.widen(rows)
