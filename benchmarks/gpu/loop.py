"""Measurement 5 of spec/performance.md 8: the stock pipeline's loop, ours without its savings, and ours."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.gpu import stock
from benchmarks.gpu.bench import Bench
from benchmarks.gpu.defaults import PASSES
from benchmarks.gpu.inputs import Inputs
from benchmarks.gpu.nets import weights_of
from benchmarks.gpu.timing import Figures, far, tflop_of, timed, with_rate
from models.components import SdxlComponents
from models.params import schedule_length
from models.sdxl.controls import Control
from models.sdxl.denoise import ALL, NONE, Savings, denoise
from models.sdxl.encode import encode
from models.sdxl.guidance import Guidance
from models.sdxl.schedule import Schedule, generators


class Loop:
    """One SDXL pass from start picture to final latents, for so many pictures, on shared random inputs."""

    def __init__(self, bench: Bench, parts: SdxlComponents, nets: list[Any], which: str, pictures: int) -> None:
        given, asked = Inputs.of(bench), PASSES[which]
        self._parts, self._nets, self._scales = parts, nets, asked.scales
        self._steps, self._strength = bench.scale.steps, asked.strength
        self._length = schedule_length(self._steps, self._strength)
        self._guidance = Guidance(scale=asked.guidance, pag_scale=asked.pag)
        self._prompts = given.prompts(parts.unet, pictures)
        self._starts = given.pictures(pictures)
        self._maps = [given.pictures(pictures) for _ in nets]
        self._seeds = list(range(pictures))

    def ours(self, savings: Savings) -> torch.Tensor:
        drawn = generators(self._seeds)
        schedule = Schedule(self._steps, self._length, drawn)
        first = schedule.noised(encode(self._parts.vae, self._starts, drawn))
        controls = [Control(*one) for one in zip(self._nets, self._maps, self._scales, strict=True)]
        return denoise(self._parts.unet, first, prompts=self._prompts, controls=controls, guidance=self._guidance,
                       schedule=schedule, savings=savings)

    def theirs(self) -> torch.Tensor:
        made: torch.Tensor = stock.render(
            self._parts, self._nets, starts=self._starts, maps=self._maps, scales=self._scales, prompts=self._prompts,
            guidance=self._guidance, length=self._length, strength=self._strength, seeds=self._seeds, latents=True)
        return made


def loop(bench: Bench) -> None:
    """5. An SDXL pass up to its latents: diffusers' pipeline, our loop without savings, ours; and how far they differ.

    Shares are of the pass's lean arithmetic, ours, whoever runs it.
    """
    made = weights_of(bench)
    parts, nets = made.sdxl(), made.nets()
    for pictures in bench.scale.pictures:
        for which in PASSES:
            one = Loop(bench, parts, nets, which, pictures)
            lean = tflop_of(lambda one=one: one.ours(ALL))
            wanted: list[torch.Tensor] = []

            def measure(call: Any, lean: float = lean, wanted: list[torch.Tensor] = wanted) -> Figures:
                latents = call()
                if not torch.isfinite(latents).all():
                    raise FloatingPointError("the latents are not finite")
                wanted.append(latents)
                found = with_rate(timed(call, bench.device, runs=min(3, bench.scale.runs)), lean, bench.rate)
                return found | {"far": far(latents, wanted[0])}

            name = f"{which} pass, {pictures} at a time"
            theirs = bench.case(f"{name}, stock pipeline", lambda one=one: measure(one.theirs))
            for who, savings in (("our loop without savings", NONE), ("our loop", ALL)):
                def ours(one: Loop = one, savings: Savings = savings, theirs: Figures | None = theirs) -> Figures:
                    found = measure(lambda: one.ours(savings))
                    if theirs is None:
                        return {key: value for key, value in found.items() if key != "far"}
                    return found | {"times_stock": theirs["wall_ms"] / found["wall_ms"]}

                bench.case(f"{name}, {who}", ours)
