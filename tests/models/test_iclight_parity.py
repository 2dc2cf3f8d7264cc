"""Our IC-Light loop against the original's public code: its arrays (tests/parity/README.md tells their origin), and an
oracle that gives those arrays, in more cases than they hold."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import iclight_original as original
import numpy as np
import pytest
import torch
from iclight_original import LIGHTS, Case, cover, drawn, large_size, lit_from, process, recipe

from models import iclight
from models.components import IcLightComponents
from models.iclight import Noise, Request, Stage, merge_offsets, run_stages
from models.pictures import Floats

PARITY = Path(__file__).parents[1] / "parity"
Weights = dict[str, IcLightComponents]
LONG = "an old hand painted porcelain teapot with a very long description " * 3
UPLOAD = Case(model="fbc", light="Upload", foreground=drawn(160, 96, 1), background=drawn(96, 128, 2))
NONE = replace(UPLOAD, model="fc", light="None", guidance=2.0)
ARRAYS: dict[str, Case] = {
    "fbc_upload": UPLOAD,
    "fbc_left": replace(UPLOAD, light="Left Light"),
    "fbc_two": replace(UPLOAD, images=2),
    "fbc_long_prompt": replace(UPLOAD, prompt=LONG, guidance=2.0),
    "fc_none": NONE,
    "fc_left": replace(NONE, light="Left Light"),
}


@pytest.fixture(scope="module")
def expected() -> dict[str, Floats]:
    with np.load(PARITY / "iclight.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def weights() -> Weights:
    parts = recipe()
    return {model: IcLightComponents(unet=merge_offsets(parts.unet(), parts.offsets(channels)), vae=parts.vae(),
                                     text_encoder=parts.text_encoder(), tokenizer=parts.tokenizer())
            for model, channels in (("fc", 4), ("fbc", 8))}


def request(case: Case) -> Request:
    return Request(prompt=f"{case.prompt}, {case.added}", negative_prompt=case.negative, seed=case.seed,
                   guidance_scale=case.guidance, pictures=case.images)


def begun_from_a_picture(steps: int, denoise: float) -> dict[str, int]:
    """As the demos ask, and diffusers' img2img executes."""
    scheduled = round(steps / denoise)
    return {"scheduled": scheduled, "executed": int(scheduled * denoise)}


def stages(case: Case) -> tuple[Stage, Stage]:
    """What the demos' settings are to us. The pictures are fitted as the oracle does it: our passes do it otherwise."""
    lit = lit_from(case)
    shown = [case.foreground] if case.model == "fc" or lit is None else [case.foreground, lit]
    low, high = (tuple(cover(picture, *size) for picture in shown)
                 for size in ((case.width, case.height), large_size(case)))
    again = begun_from_a_picture(case.steps, case.highres_denoise)
    if case.model == "fbc" or lit is None:
        return Stage(conditions=low, scheduled=case.steps, executed=case.steps), Stage(conditions=high, **again)
    return (Stage(conditions=low, start=lit, **begun_from_a_picture(case.steps, case.lowres_denoise)),
            Stage(conditions=high, **again))


def ours(weights: Weights, case: Case) -> Floats:
    return run_stages(weights[case.model], request(case), stages(case))


def distance(made: Floats, wanted: Floats, model: Literal["fc", "fbc"]) -> tuple[float, float]:
    """The largest and the mean difference, each as a share of what tests/parity/README.md tolerates."""
    assert made.shape == wanted.shape
    largest = 1e-3
    if model == "fc":
        made, largest = np.asarray(np.floor(255 * made + 1e-3) / 255, dtype=np.float32), 1.001 / 255
    off = np.abs(made - wanted)
    return float(off.max() / largest), float(off.mean() / 5e-5)


@pytest.mark.parametrize("name", ARRAYS)
def test_it_gives_the_originals_pixels(weights: Weights, expected: dict[str, Floats], name: str) -> None:
    assert max(distance(ours(weights, ARRAYS[name]), expected[name], ARRAYS[name].model)) <= 1


@pytest.mark.parametrize("name", ARRAYS)
def test_the_oracle_gives_the_originals_pixels(expected: dict[str, Floats], name: str) -> None:
    assert max(distance(process(ARRAYS[name]), expected[name], ARRAYS[name].model)) <= 1


def test_every_array_is_compared(expected: dict[str, Floats]) -> None:
    assert set(expected) == set(ARRAYS)


def random_case(number: int) -> Case:
    """Sides of the pictures are any, those of stage 1 multiples of 8 as the VAE asks."""
    rng = np.random.default_rng((2026_11_21, number))

    def picture() -> original.Pixels:
        width, height = rng.integers(32, 240, 2)
        return drawn(int(width), int(height), int(rng.integers(2**31)))

    def text(most: int) -> str:
        return "".join(rng.choice(list("abcdefgh ,."), rng.integers(1, most)))

    model: Literal["fc", "fbc"] = "fc" if rng.integers(2) else "fbc"
    more = ("None",) if model == "fc" else ("Upload", "Flipped", "Ambient")
    return Case(
        model=model, light=str(rng.choice([*LIGHTS, *more])),
        foreground=picture(), background=picture(), prompt=text(200), added=str(rng.choice(["best quality", ""])),
        negative=str(rng.choice([original.NEGATIVE, text(250)])), width=8 * int(rng.integers(8, 20)),
        height=8 * int(rng.integers(8, 20)), images=int(rng.choice([1, 1, 1, 2, 3])), seed=int(rng.integers(2**32)),
        steps=int(rng.integers(2, 6)), guidance=float(rng.choice([1.0, 1.5, 2.0, 4.25, 7.0, 12.0])),
        highres_scale=float(rng.choice([1.0, 1.1, 1.25, 1.5, 1.75])),
        highres_denoise=float(rng.choice([0.1, 0.25, 0.3, 0.5, 0.7, 0.9, 1.0])),
        lowres_denoise=float(rng.choice([0.1, 0.4, 0.55, 0.8, 0.9, 1.0])))


@pytest.mark.parametrize("number", range(20))
def test_it_gives_what_the_oracle_gives(weights: Weights, number: int) -> None:
    case = random_case(number)
    assert max(distance(ours(weights, case), process(case), case.model)) <= 1, case


SMALL = {"width": 64, "height": 64, "highres_scale": 1.0, "steps": 2}
EDGES: dict[str, Case] = {
    **{f"{light} of {model}": replace(start, **SMALL, light=light)
       for model, start in (("fc", NONE), ("fbc", UPLOAD)) for light in LIGHTS},
    "grey light": replace(UPLOAD, **SMALL, light="Ambient"),
    "mirrored": replace(UPLOAD, **SMALL, light="Flipped"),
    "grey product": replace(UPLOAD, **SMALL, foreground=np.full((80, 80, 3), 127, np.uint8)),
    "one step": replace(UPLOAD, **SMALL | {"steps": 1}),
    "twenty steps": replace(UPLOAD, **SMALL | {"steps": 20}),
    "all of the second schedule": replace(UPLOAD, **SMALL, highres_denoise=1.0),
    "a tenth of both schedules": replace(NONE, **SMALL, light="Top Light", highres_denoise=0.1, lowres_denoise=0.1),
    "all of both schedules": replace(NONE, **SMALL, light="Top Light", highres_denoise=1.0, lowres_denoise=1.0),
    "7 / 0.7 as floats": replace(NONE, **SMALL | {"steps": 7}, light="Left Light", lowres_denoise=0.7),
    "half rounds to even": replace(UPLOAD, width=160, height=96, highres_scale=1.0),
    "three times as large": replace(UPLOAD, **SMALL | {"highres_scale": 3.0}),
    "smaller in stage 2": replace(UPLOAD, width=88, height=72, highres_scale=1.0),
    "four pictures": replace(NONE, **SMALL, light="Right Light", images=4),
    "largest seed": replace(UPLOAD, **SMALL, seed=2**32 - 1),
    "guidance 1": replace(UPLOAD, **SMALL, guidance=1.0),
    "guidance below 1 is none": replace(UPLOAD, **SMALL, guidance=0.5),
    "guidance 1, the longer negative still counts": replace(UPLOAD, **SMALL, guidance=1.0, negative=LONG * 2),
    "no prompt": replace(UPLOAD, **SMALL, prompt=""),
    "nothing added": replace(UPLOAD, **SMALL, added=""),
    "neither": replace(UPLOAD, **SMALL, prompt="", added=""),
    "two chunks to fill three": replace(UPLOAD, **SMALL, prompt="z" * 110, negative="y" * 200),
    "exactly one chunk": replace(UPLOAD, **SMALL, prompt="a" * 61, negative="b" * 75),
    "one token more": replace(UPLOAD, **SMALL, prompt="a" * 62, negative="b" * 76),
    "wide pictures": replace(UPLOAD, **SMALL, foreground=drawn(301, 33, 3), background=drawn(211, 47, 4)),
    "tall pictures": replace(UPLOAD, width=128, height=64, foreground=drawn(33, 301, 3), background=drawn(97, 211, 4)),
}


@pytest.mark.parametrize("name", EDGES)
def test_it_gives_what_the_oracle_gives_at_the_edges(weights: Weights, name: str) -> None:
    case = EDGES[name]
    assert max(distance(ours(weights, case), process(case), case.model)) <= 1


class SamplingVae:
    """The real VAE, but `mode` draws from the posterior: what a plain img2img pipeline does."""

    def __init__(self, vae: Any) -> None:
        self._vae = vae

    def encode(self, pictures: torch.Tensor) -> SimpleNamespace:
        drawn = self._vae.encode(pictures).latent_dist.sample(torch.Generator().manual_seed(0))
        return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: drawn))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._vae, name)


class CuttingTokenizer:
    """The real tokenizer, but what is beyond CLIP's 77 positions is lost."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def __call__(self, text: str, **options: Any) -> SimpleNamespace:
        return SimpleNamespace(input_ids=self._tokenizer(text, **options).input_ids[:75])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)


Mistake = Callable[[IcLightComponents, pytest.MonkeyPatch], IcLightComponents]
"""Spoils our loop, or gives other weights to run it on."""


def vae_sample(weights: IcLightComponents, patch: pytest.MonkeyPatch) -> IcLightComponents:
    return replace(weights, vae=SamplingVae(weights.vae))


def divided_by_127_5(weights: IcLightComponents, patch: pytest.MonkeyPatch) -> IcLightComponents:
    patch.setattr(iclight, "_normalised", lambda pictures: torch.from_numpy(pictures).movedim(-1, 1) / 127.5 - 1)
    return weights


def scaled_linear_betas(weights: IcLightComponents, patch: pytest.MonkeyPatch) -> IcLightComponents:
    patch.setitem(iclight.SCHEDULE, "beta_schedule", "scaled_linear")
    return weights


def fresh_generator_for_stage_2(weights: IcLightComponents, patch: pytest.MonkeyPatch) -> IcLightComponents:
    denoise = iclight.denoise

    def reseeded(*given: Any) -> torch.Tensor:
        *before, _, called = given
        return denoise(*before, Noise([request(UPLOAD)]), called)

    patch.setattr(iclight, "denoise", reseeded)
    return weights


def rounded_to_8_bits(weights: IcLightComponents, patch: pytest.MonkeyPatch) -> IcLightComponents:
    carried = iclight._carried_over
    patch.setattr(iclight, "_carried_over", lambda vae, decoded, size: carried(vae, decoded + 0.5 / 127.5, size))
    return weights


def conditions_in_another_order(weights: IcLightComponents, patch: pytest.MonkeyPatch) -> IcLightComponents:
    condition = iclight._condition
    patch.setattr(iclight, "_condition", lambda vae, stages: condition(vae, stages).roll(4, dims=1))
    return weights


def negative_branch_without_the_condition(weights: IcLightComponents, patch: pytest.MonkeyPatch) -> IcLightComponents:
    def blind(module: Any, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        sample = given[0].clone()
        sample[0, 4:] = 0
        return sample, *given[1:]

    unet = deepcopy(weights.unet)
    unet.register_forward_pre_hook(blind)
    return replace(weights, unet=unet)


def a_noise_less(weights: IcLightComponents, patch: pytest.MonkeyPatch) -> IcLightComponents:
    """The one of the last step, whose weight is zero, is not drawn, so that stage 2 gets it."""
    draw, drawn_of_stage_1 = Noise.draw, list[int]()

    def skipping(noise: Noise, like: torch.Tensor) -> torch.Tensor:
        drawn_of_stage_1.append(1)
        return torch.zeros(1, 4, *like.shape[-2:]) if len(drawn_of_stage_1) == 5 else draw(noise, like)

    patch.setattr(Noise, "draw", skipping)
    return weights


def cut_at_77_tokens(weights: IcLightComponents, patch: pytest.MonkeyPatch) -> IcLightComponents:
    return replace(weights, tokenizer=CuttingTokenizer(weights.tokenizer))


@pytest.mark.parametrize(("mistake", "name"), [
    (vae_sample, "fbc_upload"), (vae_sample, "fc_left"), (divided_by_127_5, "fbc_upload"),
    (divided_by_127_5, "fc_none"), (scaled_linear_betas, "fbc_upload"), (scaled_linear_betas, "fc_left"),
    (fresh_generator_for_stage_2, "fbc_upload"), (cut_at_77_tokens, "fbc_long_prompt"),
    (rounded_to_8_bits, "fbc_upload"), (conditions_in_another_order, "fbc_upload"),
    (negative_branch_without_the_condition, "fbc_upload"), (a_noise_less, "fbc_upload")])
def test_a_single_mistake_shows(weights: Weights, expected: dict[str, Floats], mistake: Mistake, name: str,
                                monkeypatch: pytest.MonkeyPatch) -> None:
    case = ARRAYS[name]
    spoilt = {case.model: mistake(weights[case.model], monkeypatch)}
    assert max(distance(ours(spoilt, case), expected[name], case.model)) > 1


@pytest.mark.parametrize("change", [
    {"start": None}, {"start": original.gradient("Left Light", 64, 128, 224, 32)},
    {"conditions": (cover(cover(NONE.foreground, 64, 128), 128, 192),)}, {"scheduled": 8}])
def test_a_stage_told_otherwise_shows(weights: Weights, expected: dict[str, Floats], change: dict[str, Any]) -> None:
    """The conditions of stage 2 are cropped from the given pictures again; all others are of stage 1."""
    case = ARRAYS["fc_left"]
    low, high = stages(case)
    told = (low, replace(high, **change)) if "conditions" in change else (replace(low, **change), high)
    assert max(distance(run_stages(weights["fc"], request(case), told), expected["fc_left"], "fc")) > 1
