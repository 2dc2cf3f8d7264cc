"""From noise to picture: the levels that are visited, and all noise that is ever drawn.

DPM++ SDE on Karras or Align-Your-Steps sigmas (spec/omni-bg.md 1.3 and 3.3). Noise is drawn on the CPU in float32, so
that every device and dtype gets the same, and from one generator a picture, so that a picture does not depend on its
batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler
from diffusers.schedulers import AysSchedules

from models.params import NOISE_LEVELS, Spacing


def draw(generators: Sequence[torch.Generator], like: torch.Tensor) -> torch.Tensor:
    """Gaussian noise of `like`'s shape, device and dtype: a picture's from its own generator."""
    drawn = [torch.randn((1, *like.shape[1:]), generator=generator) for generator in generators]
    return torch.cat(drawn).to(like)


def generators(seeds: Sequence[int]) -> list[torch.Generator]:
    return [torch.Generator("cpu").manual_seed(seed) for seed in seeds]


def scheduler() -> DPMSolverMultistepScheduler:
    """The betas are those of SDXL's scheduler_config.json.

    Karras sigmas begin at the last noise level, where least of the start shows through, and overrule the spacing, which
    is given for whoever turns them off: leading would begin ten steps at level 901 and show nearly twice as much.
    """
    return DPMSolverMultistepScheduler(
        num_train_timesteps=NOISE_LEVELS, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
        algorithm_type="sde-dpmsolver++", use_karras_sigmas=True, timestep_spacing="trailing", steps_offset=1)


def align_your_steps(solver: DPMSolverMultistepScheduler, length: int) -> None:
    """Put the solver on the levels that Sabour et al. 2024 (arXiv 2404.14507) found best for SDXL in ten steps.

    Other lengths lie between them, evenly in the index and straight in the logarithm of sigma, as the paper has it and
    as omni-zero runs them (spec/omni-bg.md 1.3). Ten are diffusers' own list.
    """
    trained = np.log(1 / solver.alphas_cumprod.numpy().astype(np.float64) - 1) / 2  # log sigma of every level
    knots = trained[[*AysSchedules["StableDiffusionXLTimesteps"], 0]]
    sigmas = np.interp(np.linspace(0, 1, length + 1), np.linspace(0, 1, len(knots)), knots)[:-1]
    solver.timesteps = torch.from_numpy(np.interp(sigmas, trained, np.arange(NOISE_LEVELS)).round().astype(np.int64))
    solver.sigmas = torch.from_numpy(np.append(np.exp(sigmas), 0).astype(np.float32))


class Schedule:
    """The last `steps` levels of a schedule of `length`. Good for one run: it remembers the step before."""

    def __init__(self, steps: int, length: int, generators: Sequence[torch.Generator], spacing: Spacing = "karras",
                 ) -> None:
        self._scheduler = scheduler()
        self._scheduler.set_timesteps(length)
        if spacing == "ays":
            align_your_steps(self._scheduler, length)
        self._scheduler.set_begin_index(length - steps)
        self._generators = generators
        self.timesteps: torch.Tensor = self._scheduler.timesteps[length - steps:]

    def noised(self, start: torch.Tensor) -> torch.Tensor:
        """The start as it is at the first level: mostly noise, but never all."""
        return self._scheduler.add_noise(start, draw(self._generators, start), self.timesteps[:1])

    def noise_alone(self, like: torch.Tensor) -> torch.Tensor:
        """As though there were no start: what text-to-image begins from."""
        return draw(self._generators, like) * self._scheduler.init_noise_sigma

    def step(self, noise: torch.Tensor, timestep: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        """One level on. The SDE adds new noise at each."""
        fresh = draw(self._generators, noise.float())
        return self._scheduler.step(noise, timestep, latents, variance_noise=fresh).prev_sample
