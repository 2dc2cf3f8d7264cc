"""How much arithmetic omni-bg's default job is, as diffusers' pipelines do it and as ours: counted, not timed.

    python benchmarks/flops.py          prints the tables and writes benchmarks/results/DATE-flops.md

Public configurations on PyTorch's meta device, counted op by op by torch.utils.flop_counter: 2 FLOP a multiply-add,
matrix products, convolutions and attention only. No weights, no GPU. diffusers' side calls its own modules with the
rows that StableDiffusionXLControlNetPAGImg2ImgPipeline 0.42.1 gives them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from diffusers import MultiControlNetModel
from full_size import POOLED, TOKENS, WIDTH, controlnet, iclight_unet, parameters, sdxl_unet, vae
from torch.utils.flop_counter import FlopCounterMode

from models.pictures import Size
from models.relight import first_stage_size
from models.sdxl.controls import Control
from models.sdxl.denoise import ALL, NONE, Predictor, Savings
from models.sdxl.guidance import Guidance
from models.sdxl.text import PromptEmbeddings, Text

ROOT = Path(__file__).resolve().parent.parent
SIZE = Size(height=768, width=1024)
STEPS = 10
"""Executed in each pass; the light pass makes 10 and 9 (spec/omni-bg.md 1.7)."""
PASSES = {"first": (1.0, 1.0, 0.0), "second": (1.0, 1.0, 1.0)}
"""Default scales of outpaint, lines and depth. The first pass's depth is 0 by default, and diffusers runs it."""


def tera(call: Callable[[], object]) -> float:
    """TFLOP of one call on the meta device."""
    with FlopCounterMode(display=False) as counter, torch.device("meta"), torch.inference_mode():
        call()
    return counter.get_total_flops() / 1e12


@cache
def models() -> dict[str, Any]:
    with torch.device("meta"):
        return {"unet": sdxl_unet().eval(), "nets": [controlnet().eval() for _ in range(3)], "vae": vae().eval(),
                "iclight": iclight_unet().eval()}


def empty(*shape: int) -> torch.Tensor:
    return torch.empty(shape, device="meta")


def _text(rows: int) -> Text:
    return Text(empty(rows, TOKENS, WIDTH), empty(rows, POOLED))


def _latents(rows: int, size: Size = SIZE) -> torch.Tensor:
    return empty(rows, 4, size.height // 8, size.width // 8)


def stock(scales: tuple[float, ...], *, steps: int = STEPS) -> float:
    """TFLOP of diffusers' loop: three rows everywhere, every net that was given, at every step."""
    return steps * _stock_step(scales)


def ours(scales: tuple[float, ...], savings: Savings = ALL, *, steps: int = STEPS) -> float:
    """TFLOP of our loop: what is made once, and every step."""
    once, each = _our_parts(scales, savings)
    return once + steps * each


@cache
def _stock_step(scales: tuple[float, ...]) -> float:
    text, sizes = _text(3), empty(3, 6)
    told = {"text_embeds": text.pooled, "time_ids": sizes}
    nets = MultiControlNetModel(models()["nets"][:len(scales)])
    timestep = torch.tensor(500, device="meta")

    def step() -> None:
        across, middle = nets(
            _latents(3), timestep, encoder_hidden_states=text.sequence, conditioning_scale=list(scales),
            controlnet_cond=[empty(3, 3, *SIZE)] * len(scales), added_cond_kwargs=told, return_dict=False)
        models()["unet"](_latents(3), timestep, encoder_hidden_states=text.sequence, added_cond_kwargs=told,
                         down_block_additional_residuals=across, mid_block_additional_residual=middle)

    return tera(step)


@cache
def _our_parts(scales: tuple[float, ...], savings: Savings) -> tuple[float, float]:
    made: list[Predictor] = []

    def prepare() -> None:
        made.append(Predictor(
            models()["unet"], _latents(1), PromptEmbeddings(_text(1), _text(1)),
            [Control(net, empty(1, 3, *SIZE), scale) for net, scale in zip(models()["nets"], scales, strict=True)],
            Guidance(scale=4.0, pag_scale=2.0), savings))

    return tera(prepare), tera(lambda: made[0](_latents(1), torch.tensor(500, device="meta")))


@cache
def vae_both(size: Size = SIZE) -> tuple[float, float]:
    """TFLOP of one encoding and one decoding."""
    return (tera(lambda: models()["vae"].encode(empty(1, 3, *size))),
            tera(lambda: models()["vae"].decode(_latents(1, size))))


@cache
def light() -> float:
    """TFLOP of the light pass: ten steps at the first stage's size, nine at the full one, in two rows; each stage
    encodes foreground, scene and, from the second on, the picture before, and decodes."""
    total = 0.0
    for size, steps, encodings in ((first_stage_size(SIZE), STEPS, 2), (SIZE, 9, 3)):
        one = tera(lambda size=size: models()["iclight"](  # type: ignore[misc]
            empty(2, 12, size.height // 8, size.width // 8), torch.tensor(500, device="meta"),
            encoder_hidden_states=empty(2, TOKENS, 768)))
        encoding, decoding = vae_both(size)
        total += steps * one + encodings * encoding + decoding
    return total


def passes(count: Callable[[tuple[float, ...]], float]) -> float:
    """TFLOP of both SDXL passes with their VAE."""
    return sum(count(scales) + sum(vae_both()) for scales in PASSES.values())


def report() -> str:
    small = first_stage_size(SIZE)
    before, after, lamp = passes(stock), passes(ours), light()
    rows = [_row(f"{name} pass, 10 steps", stock(scales), ours(scales)) for name, scales in PASSES.items()]
    rows += [_row("VAE, an encoding and a decoding a pass", 2 * sum(vae_both()), 2 * sum(vae_both())),
             _row("**both SDXL passes**", before, after), _row("light pass, 10 + 9 steps", lamp, lamp),
             _row("**the whole job**", before + lamp, after + lamp)]
    alone = [f"| `{field.name}` | " + " | ".join(_alone(field.name, scales) for scales in PASSES.values()) + " |"
             for field in fields(Savings)]
    steps = [f"| {steps} and {steps} | {1 - _of(ours, steps) / _of(stock, steps):.1%} |" for steps in (5, 10, 30, 50)]
    sizes = ", ".join(f"{name} {parameters(module) / 1e6:,.0f} M" for name, module in (
        ("SDXL's UNet", models()["unet"]), ("a ControlNet", models()["nets"][0]), ("VAE", models()["vae"]),
        ("IC-Light's UNet", models()["iclight"])))
    return "\n".join([
        f"# Arithmetic of omni-bg's default job, {datetime.now(UTC):%Y-%m-%d}", "",
        "`python benchmarks/flops.py`: TFLOP, counted on the meta device with the public configurations "
        f"(parameters: {sizes}); 1024 x 768, three ControlNets, guidance 4, PAG on the middle block. Not timed, no "
        "GPU. Text encoders, cut-out, depth and lines are left out on both sides (about 5 TFLOP with a large depth "
        "model).", "",
        "| | diffusers | ours | less |", "|---|---:|---:|---:|", *rows, "",
        "Each saving alone, of the loop without any (the VAE left out):", "",
        "| | first pass (depth 0) | second pass |", "|---|---:|---:|", *alone, "",
        "Both SDXL passes by executed steps:", "", "| steps | less |", "|---|---:|", *steps, "",
        f"The light pass's first stage runs at {small.width} x {small.height} here; at "
        "704 x 512, as spec/performance.md 3 assumed, the pass would be 108.8.", "",
        f"torch {version('torch')}, diffusers {version('diffusers')}.", ""])


def _row(what: str, before: float, after: float) -> str:
    return f"| {what} | {before:.1f} | {after:.1f} | {'' if before == after else f'{1 - after / before:.1%}'} |"


def _alone(saving: str, scales: tuple[float, ...]) -> str:
    return f"{1 - ours(scales, replace(NONE, **{saving: True})) / ours(scales, NONE):.1%}"


def _of(count: Callable[..., float], steps: int) -> float:
    return passes(lambda scales: count(scales, steps=steps))


if __name__ == "__main__":
    text = report()
    print(text)
    (ROOT / f"benchmarks/results/{datetime.now(UTC):%Y-%m-%d}-flops.md").write_text(text, encoding="utf-8")
