"""Our IC-Light loop against the original's public code: tests/parity/iclight.npz (its README tells the origin)."""

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from models import iclight, tiny
from models.components import IcLightComponents
from models.errors import WeightsError
from models.iclight import Request, Stage, merge_offsets, run_stages
from models.pictures import Floats, Picture

PARITY = Path(__file__).parents[1] / "parity"
LONG = "an old hand painted porcelain teapot with a very long description " * 3


def recipe() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tiny_sd15", PARITY / "tiny_sd15.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def expected() -> dict[str, Floats]:
    with np.load(PARITY / "iclight.npz") as arrays:
        return {name: arrays[name] for name in arrays if name.startswith("fbc_")}


@pytest.fixture(scope="module")
def weights() -> IcLightComponents:
    drawn = recipe()
    return IcLightComponents(unet=merge_offsets(drawn.unet(), drawn.offsets(8)), vae=drawn.vae(),
                             text_encoder=drawn.text_encoder(), tokenizer=drawn.tokenizer())


def drawn_picture(width: int, height: int, seed: int) -> Picture:
    small = np.random.RandomState(seed).randint(0, 256, (height // 16, width // 16, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def left_light(width: int, height: int) -> Picture:
    ramp = np.linspace(224, 32, width)[None, :, None]
    return np.broadcast_to(ramp, (height, width, 3)).astype(np.uint8)


def cover_cropped(picture: Picture, width: int, height: int) -> Picture:
    """As the original fits its pictures, fractions of the crop's corner included; our pass pads instead."""
    high, wide = picture.shape[:2]
    scale = max(width / wide, height / high)
    covering = Image.fromarray(picture).resize((round(wide * scale), round(high * scale)), Image.Resampling.LANCZOS)
    left, top = (covering.width - width) / 2, (covering.height - height) / 2
    return np.asarray(covering.crop((left, top, left + width, top + height)))


FOREGROUND = drawn_picture(160, 96, 1)
UPLOAD = drawn_picture(96, 128, 2)
REQUEST = Request(
    prompt="a brass lamp on marble, best quality", guidance_scale=7.0, seed=12345,
    negative_prompt="lowres, bad anatomy, bad hands, cropped, worst quality")
CASES: dict[str, tuple[Request, Picture]] = {
    "fbc_upload": (REQUEST, UPLOAD),
    "fbc_left": (REQUEST, left_light(64, 128)),
    "fbc_two": (replace(REQUEST, pictures=2), UPLOAD),
    "fbc_long_prompt": (replace(REQUEST, prompt=f"{LONG}, best quality", guidance_scale=2.0), UPLOAD),
}


def stages(background: Picture) -> tuple[Stage, Stage]:
    """4 steps from noise at 64 x 128, then the last 4 of round(4 / 0.5) at 128 x 192."""
    low, high = (tuple(cover_cropped(picture, *size) for picture in (FOREGROUND, background))
                 for size in ((64, 128), (128, 192)))
    return (Stage(conditions=low, scheduled=4, executed=4), Stage(conditions=high, scheduled=8, executed=4))


def ours(weights: IcLightComponents, case: str) -> Floats:
    request, background = CASES[case]
    return run_stages(weights, request, stages(background))


def agrees(made: Floats, wanted: Floats) -> bool:
    off = np.abs(made - wanted)
    return bool(off.max() <= 1e-3 and off.mean() <= 5e-5)


@pytest.mark.parametrize("case", CASES)
def test_it_gives_the_originals_pixels(weights: IcLightComponents, expected: dict[str, Floats], case: str) -> None:
    made = ours(weights, case)
    assert made.shape == expected[case].shape
    assert made.dtype == np.float32
    off = np.abs(made - expected[case])
    assert off.max() <= 1e-3
    assert off.mean() <= 5e-5


def test_every_array_of_the_background_model_is_compared(expected: dict[str, Floats]) -> None:
    assert set(expected) == set(CASES)


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
        *before, generator, called = given
        return denoise(*before, generator.manual_seed(REQUEST.seed), called)

    patch.setattr(iclight, "denoise", reseeded)
    return weights


def cut_at_77_tokens(weights: IcLightComponents, patch: pytest.MonkeyPatch) -> IcLightComponents:
    return replace(weights, tokenizer=CuttingTokenizer(weights.tokenizer))


@pytest.mark.parametrize(("mistake", "case"), [
    (vae_sample, "fbc_upload"), (divided_by_127_5, "fbc_upload"), (scaled_linear_betas, "fbc_upload"),
    (fresh_generator_for_stage_2, "fbc_upload"), (cut_at_77_tokens, "fbc_long_prompt")])
def test_a_single_mistake_shows(weights: IcLightComponents, expected: dict[str, Floats], mistake: Mistake, case: str,
                                monkeypatch: pytest.MonkeyPatch) -> None:
    assert not agrees(ours(mistake(weights, monkeypatch), case), expected[case])


def test_each_unet_evaluation_is_counted_and_counting_may_cancel(weights: IcLightComponents) -> None:
    calls = []
    run_stages(weights, REQUEST, stages(UPLOAD), lambda: calls.append(1))
    assert len(calls) == 4 + 4

    class Cancelled(Exception):
        pass

    def cancel() -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        run_stages(weights, REQUEST, stages(UPLOAD), cancel)


def test_guidance_1_is_the_prompt_alone(weights: IcLightComponents) -> None:
    """The branch without weight is not run; the limit from above, where it is, is the same picture."""
    one_stage = stages(UPLOAD)[:1]
    alone = run_stages(weights, replace(REQUEST, guidance_scale=1.0), one_stage)
    limit = run_stages(weights, replace(REQUEST, guidance_scale=1.0 + 1e-6), one_stage)
    other = run_stages(weights, replace(REQUEST, guidance_scale=1.0, negative_prompt="a dog"), one_stage)
    assert np.abs(alone - limit).max() < 1e-3
    assert np.array_equal(alone, other)


def test_merged_the_unet_is_wider_but_its_config_still_says_4() -> None:
    base, offsets = tiny.sd15_unet().state_dict(), tiny.iclight_offsets(8)
    unet = merge_offsets(tiny.sd15_unet(), offsets)
    assert (unet.config.in_channels, unet.conv_in.in_channels) == (4, 12)
    merged = unet.state_dict()
    assert merged.keys() == base.keys()
    assert torch.equal(merged["conv_in.weight"][:, :4], base["conv_in.weight"] + offsets["conv_in.weight"][:, :4])
    assert torch.equal(merged["conv_in.weight"][:, 4:], offsets["conv_in.weight"][:, 4:])
    for name in base.keys() - {"conv_in.weight"}:
        assert torch.equal(merged[name], base[name] + offsets[name]), name


@pytest.mark.parametrize("change", ["missing", "extra", "shape", "narrow"])
def test_offsets_that_do_not_fit_exactly_are_refused_by_name(change: str) -> None:
    offsets = tiny.iclight_offsets(8)
    wrong = "conv_in.weight" if change == "narrow" else "conv_out.bias"
    if change == "missing":
        del offsets[wrong]
    elif change == "extra":
        wrong = "conv_out.scale"
        offsets[wrong] = torch.zeros(4)
    elif change == "shape":
        offsets[wrong] = torch.zeros(5)
    else:
        offsets[wrong] = offsets[wrong][:, :4]
    unet = tiny.sd15_unet()
    with pytest.raises(WeightsError, match=wrong):
        merge_offsets(unet, offsets)
    assert unet.conv_in.in_channels == 4, "a refused UNet is left as it was"
