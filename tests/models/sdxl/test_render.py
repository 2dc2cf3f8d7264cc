"""The pass `sdxl` on tiny weights of the real classes, against diffusers' own pipelines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    StableDiffusionXLControlNetPAGImg2ImgPipeline,
    StableDiffusionXLPAGImg2ImgPipeline,
)
from PIL import Image

from models import tiny
from models.errors import InputError, PassError
from models.params import SdxlParams, schedule_length
from models.passes import PassContext
from models.pictures import Picture, over
from models.sdxl.render import sdxl, sdxl_batch
from models.sdxl.schedule import scheduler
from models.sdxl.text import encode_prompts

HEIGHT, WIDTH = 64, 96
ROWS, COLUMNS = np.mgrid[0:HEIGHT, 0:WIDTH]
SOFT = np.clip(20.5 - np.hypot(ROWS - 32, COLUMNS - 48), 0, 1)
PLACED = np.dstack([2 * ROWS, 3 * ROWS, 255 - COLUMNS, 255 * SOFT]).clip(0, 255).astype(np.uint8)
SCENE = np.dstack([90 + ROWS, 120 + COLUMNS, 160 - ROWS]).clip(0, 255).astype(np.uint8)
MAPS = {"outpaint": over(PLACED, np.full((HEIGHT, WIDTH, 3), 255, np.uint8)),
        "lines": np.dstack([255 * ((SOFT > 0) & (SOFT < 1))] * 3).astype(np.uint8),
        "depth": np.dstack([4 * ROWS] * 3).clip(0, 255).astype(np.uint8)}
SCALES = {"outpaint": "outpaint_scale", "lines": "line_scale", "depth": "depth_scale"}
OUTSIDE = SOFT == 0


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    return {"sdxl": tiny.sdxl(), **{f"controlnet_{role}": tiny.controlnet(role) for role in MAPS}}


def params(**changes: Any) -> SdxlParams:
    base: dict[str, Any] = {
        "prompt": "a mug on a table", "negative_prompt": "people", "seed": 3, "steps": 2, "strength": 1.0,
        "guidance_scale": 4.0, "pag_scale": 2.0, "outpaint_scale": 1.0, "depth_scale": 1.0, "line_scale": 1.0}
    return SdxlParams(**{**base, "brightness": 0.5, **changes})


def run(models: dict[str, Any], given: SdxlParams, **pictures: Picture) -> Picture:
    """The pass, its scales 0 for the maps that are not given."""
    absent = {SCALES[role]: 0.0 for role in MAPS if role not in pictures}
    return sdxl(given.model_copy(update=absent), PassContext(models=models), placed=PLACED, **pictures)


NO_MAPS = {"outpaint_scale": 0.0, "line_scale": 0.0, "depth_scale": 0.0}


def far(one: Picture, other: Picture) -> float:
    """Greatest difference outside the product, in levels of 255."""
    return float(np.abs(one.astype(np.int16) - other)[OUTSIDE].max())


def by_diffusers(models: dict[str, Any], given: SdxlParams, start: Picture, total: int, share: float) -> np.ndarray:
    """The same render by diffusers' class, put together here: one net (lines) or none. Floats in 0..1."""
    part = models["sdxl"]
    scheduler = DPMSolverMultistepScheduler.from_config({
        "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000,
        "algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": True, "timestep_spacing": "trailing",
        "steps_offset": 1})
    shared = {"vae": part.vae, "unet": part.unet, "scheduler": scheduler, "add_watermarker": False,
              "text_encoder": part.text_encoder, "text_encoder_2": part.text_encoder_2,
              "tokenizer": part.tokenizer, "tokenizer_2": part.tokenizer_2}
    pipeline: Any
    control: dict[str, Any]
    if given.line_scale:
        pipeline = StableDiffusionXLControlNetPAGImg2ImgPipeline(**shared, controlnet=models["controlnet_lines"])
        control = {"control_image": Image.fromarray(MAPS["lines"]), "controlnet_conditioning_scale": given.line_scale}
    else:
        pipeline = StableDiffusionXLPAGImg2ImgPipeline(**shared)
        control = {}
    pipeline.set_progress_bar_config(disable=True)
    with torch.no_grad():
        positive, negative = encode_prompts(part, [given.prompt], [given.negative_prompt])
    images = pipeline(
        image=Image.fromarray(start), **control, prompt_embeds=positive.sequence,
        negative_prompt_embeds=negative.sequence, pooled_prompt_embeds=positive.pooled,
        negative_pooled_prompt_embeds=negative.pooled, strength=share,
        num_inference_steps=total, guidance_scale=given.guidance_scale, pag_scale=given.pag_scale,
        generator=torch.Generator().manual_seed(given.seed), output_type="np").images
    return np.asarray(images[0])


@pytest.mark.parametrize(("line_scale", "guidance_scale", "pag_scale"), [
    (0.7, 4.0, 2.0), (0.0, 4.0, 2.0), (0.7, 1.0, 2.0), (0.0, 4.0, 0.0)],
    ids=["one net", "no net", "no guidance", "no net, no PAG"])
@pytest.mark.parametrize(("strength", "total", "share"), [(1.0, 3, 1.0), (0.5, 6, 0.5)])
def test_it_is_what_diffusers_pipeline_makes(models: dict[str, Any], strength: float, total: int, share: float,
                                             line_scale: float, guidance_scale: float, pag_scale: float) -> None:
    given = params(steps=3, strength=strength, line_scale=line_scale, guidance_scale=guidance_scale,
                   pag_scale=pag_scale, brightness=None)
    wanted = by_diffusers(models, given, over(PLACED, SCENE), total, share)
    got = run(models, given, scene=SCENE, lines=MAPS["lines"])
    assert np.abs(got / 255.0 - wanted)[OUTSIDE].max() <= 1 / 255
    assert wanted[OUTSIDE].std() > 0.02, "a flat picture would prove nothing"


def test_the_same_seed_gives_the_same_picture_and_another_seed_another(models: dict[str, Any]) -> None:
    first = run(models, params(), **MAPS)
    assert (run(models, params(), **MAPS) == first).all()
    assert far(run(models, params(seed=4), **MAPS), first) > 3


@pytest.mark.parametrize("strength", [1.0, 0.85, 0.5, 0.3, 0.07])
@pytest.mark.parametrize("steps", [1, 3])
def test_exactly_the_asked_steps_are_executed_whatever_the_strength(
        models: dict[str, Any], steps: int, strength: float) -> None:
    seen: list[tuple[int, int]] = []
    evaluations = []
    hook = models["sdxl"].unet.conv_in.register_forward_pre_hook(lambda *call: evaluations.append(1))
    context = PassContext(models=models, on_step=lambda done, total: seen.append((done, total)))
    try:
        sdxl(params(steps=steps, strength=strength, **NO_MAPS), context, placed=PLACED)
    finally:
        hook.remove()
    assert seen == [(number, steps) for number in range(1, steps + 1)]
    assert context.model_calls == len(evaluations) == steps


def test_no_step_is_lost_where_the_product_of_floats_falls_short(models: dict[str, Any]) -> None:
    context = PassContext(models=models)
    assert int(50 * 0.58) == 28
    sdxl(params(steps=29, strength=0.58, pag_scale=0.0, guidance_scale=1.0, **NO_MAPS), context, placed=PLACED)
    assert context.model_calls == 29


def test_the_noise_begins_at_the_last_level() -> None:
    """The levels of ten steps, spec/omni-bg.md 3.3."""
    schedule = scheduler()
    schedule.set_timesteps(10)
    assert schedule.timesteps.tolist() == [999, 916, 815, 687, 523, 327, 146, 41, 7, 0]


@pytest.mark.parametrize(("steps", "strength", "length"), [
    (21, 0.7, 30), (10, 1.0, 10), (10, 0.5, 20), (10, 0.85, 12), (10, 0.3, 34), (7, 0.07, 100), (3, 0.3, 10),
    (1000, 1.0, 1000), (10, 0.01, 1000), (50, 1, 50)])
def test_the_schedule_is_steps_over_strength_rounded_up(steps: int, strength: float, length: int) -> None:
    assert schedule_length(steps, strength) == length


def test_a_schedule_beyond_the_noise_levels_is_refused_naming_both_fields(models: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"strength=0\.0099: steps=10 .* 1011, .* at least 0\.01"):
        run(models, params(steps=10, strength=0.0099))


def test_less_strength_keeps_more_of_the_scene(models: dict[str, Any]) -> None:
    changes = [far(run(models, params(strength=strength, brightness=None), scene=SCENE), run(
        models, params(strength=0.002, brightness=None), scene=SCENE)) for strength in (1.0, 0.3, 0.07)]
    assert changes[0] > changes[1] > changes[2] > 0


def test_strength_0_returns_the_start_without_a_model() -> None:
    context = PassContext()
    made = sdxl(params(strength=0, brightness=None), context, placed=PLACED, scene=SCENE, **MAPS)
    assert (made == SCENE).all()  # not composited again: a soft edge would harden
    assert context.model_calls == 0


@pytest.mark.parametrize(("brightness", "grey"), [(-1, 0), (0, 128), (0.5, 191), (1, 255)])
def test_brightness_is_the_grey_of_the_start(brightness: float, grey: int) -> None:
    made = sdxl(params(strength=0, brightness=brightness), PassContext(), placed=PLACED)
    assert (made[OUTSIDE] == grey).all()
    assert (made[SOFT == 1] == PLACED[SOFT == 1][:, :3]).all()


def test_brightness_changes_the_scene(models: dict[str, Any]) -> None:
    dark, light = (run(models, params(strength=0.5, brightness=brightness)) for brightness in (-1, 1))
    assert far(dark, light) > 3


@pytest.mark.parametrize("strength", [1.0, 0.3])
def test_the_core_of_the_product_is_not_touched_and_the_size_is_exact(models: dict[str, Any], strength: float) -> None:
    made = run(models, params(strength=strength), **MAPS)
    assert made.shape == (HEIGHT, WIDTH, 3)
    assert made.dtype == np.uint8
    assert (made[SOFT == 1] == PLACED[SOFT == 1][:, :3]).all()
    assert (SOFT == 1).sum() > 1000


@pytest.mark.parametrize("role", MAPS)
def test_a_net_of_scale_0_is_left_out_and_not_run(models: dict[str, Any], role: str) -> None:
    others = {name: value for name, value in MAPS.items() if name != role}
    without = {name: value for name, value in models.items() if name != f"controlnet_{role}"}
    left_out = run(models, params(**{SCALES[role]: 1.0}), **others)
    assert (run(without, params(**{SCALES[role]: 0.0}), **MAPS) == left_out).all()


@pytest.mark.parametrize("role", MAPS)
def test_the_scale_and_the_map_of_each_net_matter(models: dict[str, Any], role: str) -> None:
    whole = run(models, params(), **MAPS)
    assert far(run(models, params(**{SCALES[role]: 0.4}), **MAPS), whole) >= 1
    assert far(run(models, params(), **{**MAPS, role: np.full_like(SCENE, 30)}), whole) >= 1


@pytest.mark.parametrize("role", MAPS)
def test_a_scale_without_its_map_is_refused_and_not_passed_over(models: dict[str, Any], role: str) -> None:
    others = {name: value for name, value in MAPS.items() if name != role}
    with pytest.raises(ValueError, match=f"{role} is missing and its scale is 1.0"):
        sdxl(params(), PassContext(models=models), placed=PLACED, **others)


def test_every_map_goes_to_its_own_net_with_its_own_scale(models: dict[str, Any]) -> None:
    """Each net alone against the same net reached through all three with the others at 0."""
    for role in MAPS:
        alone = dict.fromkeys(SCALES.values(), 0.0) | {SCALES[role]: 0.6}
        only = {"sdxl": models["sdxl"], f"controlnet_{role}": models[f"controlnet_{role}"]}
        assert (run(models, params(**alone), **MAPS) == run(only, params(**alone), **{role: MAPS[role]})).all()


@pytest.mark.parametrize(("name", "value"), [
    ("pag_scale", 0.0), ("pag_scale", 1.0), ("guidance_scale", 1.0), ("guidance_scale", 7.0),
    ("prompt", "a box"), ("negative_prompt", "")])
def test_each_guidance_and_text_matters(models: dict[str, Any], name: str, value: object) -> None:
    changed, base = (run(models, params(**change), lines=MAPS["lines"]) for change in ({name: value}, {}))
    assert far(changed, base) >= 1


def test_the_end_of_a_long_prompt_matters(models: dict[str, Any]) -> None:
    long = "a bottle on a wooden table, " * 6
    one, other = (run(models, params(prompt=long + tail)) for tail in ("sharp focus", "dusk"))
    assert far(one, other) >= 1


class Cancelled(Exception):
    pass


@pytest.mark.parametrize("cancelled", [False, True])
def test_the_models_are_left_as_found_even_when_a_step_is_cancelled(models: dict[str, Any], cancelled: bool) -> None:
    unet = models["sdxl"].unet
    processors = dict(unet.attn_processors)
    weights = {name: value.clone() for name, value in unet.state_dict().items()}

    def on_step(done: int, total: int) -> None:
        assert any(unet.attn_processors[name] is not processors[name] for name in processors), "PAG is at work here"
        if cancelled:
            raise Cancelled

    context = PassContext(models=models, on_step=on_step)
    try:
        sdxl(params(), context, placed=PLACED, **MAPS)
    except Cancelled:
        assert context.model_calls == 1
    else:
        assert not cancelled
    assert all(unet.attn_processors[name] is processor for name, processor in processors.items())
    assert all((value == weights[name]).all() for name, value in unet.state_dict().items())


@pytest.mark.parametrize(("changes", "pictures", "says"), [
    ({"brightness": None}, {}, "scene is missing, brightness=None"),
    ({"brightness": 0.5}, {"scene": SCENE}, r"scene is given, brightness=0\.5"),
    ({}, {"depth": SCENE[:32]}, r"depth has shape \(32, 96, 3\); placed needs RGB of 64 x 96"),
    ({}, {"lines": PLACED}, r"lines has shape \(64, 96, 4\)")])
def test_contradicting_inputs_are_refused(changes: dict[str, Any], pictures: dict[str, Picture], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        sdxl(params(**changes), PassContext(), placed=PLACED, **pictures)


def test_a_side_that_is_no_multiple_of_32_is_refused() -> None:
    with pytest.raises(InputError, match=r"width=90: not a multiple of 32\. Use 96"):
        sdxl(params(), PassContext(), placed=np.ascontiguousarray(PLACED[:, :90]))


def test_a_decoder_that_overflows_is_an_error_and_not_a_black_picture(models: dict[str, Any]) -> None:
    broken = tiny.sdxl()
    with torch.no_grad():
        broken.vae.decoder.conv_out.bias.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match=r"not finite in torch\.float32"):
        run({**models, "sdxl": broken}, params())


def test_nothing_is_printed(models: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    run(models, params(prompt="long " * 40), **MAPS)
    assert capfd.readouterr() == ("", "")


def test_a_batch_is_what_each_would_be_alone(models: dict[str, Any]) -> None:
    """Of prompts of different lengths, which makes two runs: a prompt filled up with empty chunks would be another."""
    given = [params(seed=3), params(seed=4, prompt="a red shoe", brightness=-0.5),
             params(seed=5, prompt="a bottle on a wooden table, " * 6)]
    calls: list[tuple[int, int]] = []
    context = PassContext(models=models, on_step=lambda done, total: calls.append((done, total)))
    together = sdxl_batch(given, context, [{"placed": PLACED, **MAPS} for _ in given])
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    for one, made in zip(given, together, strict=True):
        assert far(made, run(models, one, **MAPS)) <= 1
    assert far(together[0], together[1]) > 3


def test_a_batch_of_strength_0_is_its_starts() -> None:
    given = [params(strength=0, brightness=None), params(strength=0, brightness=None, seed=9)]
    made = sdxl_batch(given, PassContext(), [{"placed": PLACED, "scene": scene} for scene in (SCENE, 255 - SCENE)])
    assert (made[0] == SCENE).all()
    assert (made[1] == 255 - SCENE).all()


@pytest.mark.parametrize(("changes", "pictures"), [
    ({"guidance_scale": 5.0}, {}), ({"steps": 3}, {}), ({"brightness": None}, {"scene": SCENE})])
def test_what_cannot_share_a_batch_is_refused(
        models: dict[str, Any], changes: dict[str, Any], pictures: dict[str, Picture]) -> None:
    with pytest.raises(ValueError, match="cannot share a batch"):
        sdxl_batch([params(), params(**changes)], PassContext(models=models),
                   [{"placed": PLACED, **MAPS}, {"placed": PLACED, **MAPS, **pictures}])


def test_the_vae_of_sdxl_is_not_run_in_float16_behind_ones_back(models: dict[str, Any]) -> None:
    part = tiny.sdxl()
    part.vae.half().register_to_config(force_upcast=True)
    with pytest.raises(PassError, match="dtype='float16': SDXL's own VAE overflows"):
        run({**models, "sdxl": part}, params())


def test_a_union_serves_the_three_maps_as_one_net(models: dict[str, Any]) -> None:
    union = tiny.union()
    served = {"sdxl": models["sdxl"], **dict.fromkeys((f"controlnet_{role}" for role in MAPS), union)}
    runs: list[int] = []
    hook = union.conv_in.register_forward_pre_hook(lambda *call: runs.append(1))
    whole = run(served, params(), **MAPS)
    assert len(runs) == 2, "one call a step"
    hook.remove()
    for role in MAPS:
        assert far(run(served, params(), **{**MAPS, role: np.full_like(SCENE, 30)}), whole) >= 1
        without = {name: value for name, value in MAPS.items() if name != role}
        assert (run(served, params(**{SCALES[role]: 0.0}), **MAPS) == run(served, params(), **without)).all()
    assert far(run(models, params(), **MAPS), whole) >= 1
