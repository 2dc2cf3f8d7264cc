"""The loop against diffusers' own pipelines, on tiny weights, by the final latents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    MultiControlNetModel,
    StableDiffusionXLControlNetPAGImg2ImgPipeline,
    StableDiffusionXLControlNetPAGPipeline,
    StableDiffusionXLPAGImg2ImgPipeline,
)
from diffusers.schedulers import AysSchedules

from models import tiny
from models.components import SdxlComponents
from models.params import Spacing
from models.sdxl.controls import Control
from models.sdxl.denoise import ALL, NONE, Savings, denoise
from models.sdxl.encode import encode
from models.sdxl.guidance import Guidance
from models.sdxl.schedule import Schedule, generators, scheduler
from models.sdxl.text import encode_prompts

HEIGHT, WIDTH, SEEDS = 64, 96, (3, 11)
PROMPTS, NEGATIVES = ["a mug on a table", "a red shoe"], ["people", "blurry"]
ROLES = ("outpaint", "lines", "depth")
SCALES = (0.9, 0.6, 0.4)


@pytest.fixture(scope="module")
def weights() -> SdxlComponents:
    return tiny.sdxl()


@pytest.fixture(scope="module")
def nets() -> list[Any]:
    return [tiny.controlnet(role) for role in ROLES]


@pytest.fixture(scope="module")
def exact() -> tuple[SdxlComponents, list[Any]]:
    """The same weights in float64."""
    part = tiny.sdxl()
    for module in (part.unet, part.vae, part.text_encoder, part.text_encoder_2):
        module.double()
    return part, [tiny.controlnet(role).double() for role in ROLES]


def pictures(seed: int, count: int = 2) -> torch.Tensor:
    """Different for each of `count`; (count, 3, height, width) in 0..1."""
    return torch.rand((count, 3, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(seed))


STARTS, MAPS = pictures(1), [pictures(seed) for seed in (2, 3, 4)]


def ours(weights: SdxlComponents, nets: Sequence[Any], *, scales: Sequence[float] = SCALES, pages: slice = slice(0, 1),
         steps: int = 3, length: int = 3, guidance: Guidance | None = None, start: bool = True,
         savings: Savings = ALL, spacing: Spacing = "karras") -> torch.Tensor:
    """The loop's final latents for the pictures `pages`."""
    with torch.inference_mode():
        drawn = generators(SEEDS[pages])
        schedule = Schedule(steps, length, drawn, spacing)
        like = torch.empty((len(drawn), 4, HEIGHT // 8, WIDTH // 8))
        first = (schedule.noised(encode(weights.vae, STARTS[pages], drawn)) if start else schedule.noise_alone(like))
        return denoise(
            weights.unet, first, prompts=encode_prompts(weights, PROMPTS[pages], NEGATIVES[pages]),
            controls=[Control(net, each[pages], scale) for net, each, scale in zip(nets, MAPS, scales, strict=False)],
            guidance=guidance or Guidance(scale=4.0, pag_scale=2.0), schedule=schedule, savings=savings)


def theirs(weights: SdxlComponents, nets: Sequence[Any], *, scales: Sequence[float] = SCALES,
           pages: slice = slice(0, 1), length: int = 3, strength: float = 1.0, guidance: Guidance | None = None,
           start: bool = True, layers: str = "mid", solver: Any = None, timesteps: list[int] | None = None,
           ) -> torch.Tensor:
    guidance = guidance or Guidance(scale=4.0, pag_scale=2.0)
    parts = {**vars(weights), "scheduler": solver or scheduler(), "add_watermarker": False,
             "pag_applied_layers": layers}
    control: dict[str, Any] = {}
    if nets:
        parts["controlnet"] = MultiControlNetModel(list(nets)) if len(nets) > 1 else nets[0]
        maps = [each[pages] for each, _ in zip(MAPS, nets, strict=False)]
        control = {"controlnet_conditioning_scale": list(scales[:len(nets)]) if len(nets) > 1 else scales[0]}
        control["control_image" if start else "image"] = maps if len(nets) > 1 else maps[0]
    kind: Any = (StableDiffusionXLControlNetPAGPipeline if not start else
                 StableDiffusionXLControlNetPAGImg2ImgPipeline if nets else StableDiffusionXLPAGImg2ImgPipeline)
    pipeline = kind(**parts)
    pipeline.set_progress_bar_config(disable=True)
    processors = weights.unet.attn_processors
    with torch.inference_mode():
        positive, negative = encode_prompts(weights, PROMPTS[pages], NEGATIVES[pages])
        drawn = generators(SEEDS[pages])
        size: dict[str, Any] = {} if start else {"height": HEIGHT, "width": WIDTH, "timesteps": timesteps}
        made: torch.Tensor = pipeline(
            **({"image": STARTS[pages], "strength": strength} if start else {}), **control, **size,
            prompt_embeds=positive.sequence, negative_prompt_embeds=negative.sequence,
            pooled_prompt_embeds=positive.pooled, negative_pooled_prompt_embeds=negative.pooled,
            num_inference_steps=length, guidance_scale=guidance.scale, pag_scale=guidance.pag_scale,
            generator=drawn if len(drawn) > 1 else drawn[0], output_type="latent").images
    weights.unet.set_attn_processor(processors)  # for latents diffusers 0.42.1 returns before it does so itself
    return made


def far(one: torch.Tensor, other: torch.Tensor) -> float:
    """max |difference| / max |reference|"""
    assert one.shape == other.shape
    assert other.std() > 0.1, "flat latents would prove nothing"
    return float((one - other).abs().max() / other.abs().max())


@pytest.mark.parametrize("pages", [slice(0, 1), slice(0, 2)], ids=["one picture", "two"])
@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_it_is_the_img2img_pipeline_with_pag(
        weights: SdxlComponents, nets: list[Any], count: int, pages: slice) -> None:
    wanted = theirs(weights, nets[:count], pages=pages)
    assert far(ours(weights, nets[:count], pages=pages), wanted) <= 1e-5


@pytest.mark.parametrize("pages", [slice(0, 1), slice(0, 2)], ids=["one picture", "two"])
def test_with_half_the_strength_the_last_half_of_a_longer_schedule_runs(
        weights: SdxlComponents, nets: list[Any], pages: slice) -> None:
    wanted = theirs(weights, nets, pages=pages, length=6, strength=0.5)
    assert far(ours(weights, nets, pages=pages, steps=3, length=6), wanted) <= 1e-5


@pytest.mark.parametrize("count", [1, 3])
def test_without_a_start_it_is_the_text_to_image_pipeline_with_pag(
        weights: SdxlComponents, nets: list[Any], count: int) -> None:
    wanted = theirs(weights, nets[:count], start=False)
    assert far(ours(weights, nets[:count], start=False), wanted) <= 1e-5


def test_align_your_steps_is_the_text_to_image_pipeline_given_diffusers_own_list(
        weights: SdxlComponents, nets: list[Any]) -> None:
    plain = DPMSolverMultistepScheduler.from_config(scheduler().config, use_karras_sigmas=False)
    wanted = theirs(weights, nets[:1], start=False, solver=plain, length=10,
                    timesteps=AysSchedules["StableDiffusionXLTimesteps"])
    made = ours(weights, nets[:1], start=False, steps=10, length=10, spacing="ays")
    assert far(made, wanted) <= 1e-5
    assert far(ours(weights, nets[:1], start=False, steps=10, length=10), wanted) > 1e-2


class AlignedSolver(DPMSolverMultistepScheduler):
    """What diffusers' img2img pipelines have no argument for."""

    def set_timesteps(self, num_inference_steps: int, **others: Any) -> None:
        super().set_timesteps(num_inference_steps, **others)
        trained = (1 / self.alphas_cumprod.double() - 1).sqrt()
        tens = trained[[*AysSchedules["StableDiffusionXLTimesteps"], 0]].tolist()
        # The levels of ten steps, and between each two of them their geometric mean.
        self.sigmas = torch.tensor([value for one, two in pairwise(tens)
                                    for value in (one, (one * two) ** 0.5)] + [0.0])
        self.timesteps = (self.sigmas[:-1, None].log() - trained.log()).abs().argmin(dim=1)


def test_half_of_an_aligned_schedule_is_the_img2img_pipeline_on_such_levels(
        weights: SdxlComponents, nets: list[Any]) -> None:
    solver = AlignedSolver.from_config(scheduler().config)
    wanted = theirs(weights, nets[:1], solver=solver, length=20, strength=0.2)
    assert far(ours(weights, nets[:1], steps=4, length=20, spacing="ays"), wanted) <= 1e-5


@pytest.mark.parametrize("guidance", [
    Guidance(scale=1.0, pag_scale=2.0), Guidance(scale=4.0, pag_scale=0.0), Guidance(scale=1.0, pag_scale=0.0),
    Guidance(scale=7.0, pag_scale=3.0)], ids=["PAG alone", "CFG alone", "neither", "both"])
def test_each_kind_of_guidance_is_theirs(weights: SdxlComponents, nets: list[Any], guidance: Guidance) -> None:
    wanted = theirs(weights, nets[:2], guidance=guidance)
    assert far(ours(weights, nets[:2], guidance=guidance), wanted) <= 1e-5


@pytest.mark.parametrize(("layer", "name"), [
    ("down", "down_blocks.1"), ("up", "up_blocks.0"), ("down.block_1.attentions_0", "down_blocks.1.attentions.0")])
def test_other_layers_can_be_perturbed(weights: SdxlComponents, nets: list[Any], layer: str, name: str) -> None:
    wanted = theirs(weights, nets[:1], layers=name.replace(".", r"\."))
    guidance = Guidance(scale=4.0, pag_scale=2.0, pag_layers=(name,))
    assert guidance.perturbs_late == layer.startswith("up")
    assert far(ours(weights, nets[:1], guidance=guidance), wanted) <= 1e-5


def test_a_net_of_scale_0_adds_nothing(weights: SdxlComponents, nets: list[Any]) -> None:
    scales = (0.9, 0.0, 0.4)
    assert far(ours(weights, nets, scales=scales), theirs(weights, nets, scales=scales)) <= 1e-5


@pytest.mark.parametrize("guidance", [
    Guidance(scale=4.0, pag_scale=2.0), Guidance(scale=1.0, pag_scale=2.0),
    Guidance(scale=4.0, pag_scale=2.0, pag_layers=("down_blocks.1", "mid_block"))], ids=["both", "PAG alone", "early"])
@pytest.mark.parametrize("saving", [field.name for field in fields(Savings)])
def test_each_saving_changes_nothing(
        exact: tuple[SdxlComponents, list[Any]], saving: str, guidance: Guidance) -> None:
    """In float64: in float32 the rounding of a product depends on how many rows it has, and three steps of guidance
    make 4e-6 of it."""
    scales = (0.9, 0.0, 0.4)
    for without in (replace(ALL, **{saving: False}), replace(NONE, **{saving: True})):
        wanted = ours(*exact, scales=scales, guidance=guidance, savings=without)
        assert far(ours(*exact, scales=scales, guidance=guidance), wanted) <= 1e-6


def calls(module: torch.nn.Module) -> list[int]:
    """Rows of each call to come."""
    seen: list[int] = []
    module.register_forward_pre_hook(lambda module, args, kwargs: seen.append(
        len(kwargs["hidden_states"] if "hidden_states" in kwargs else args[0])), with_kwargs=True)
    return seen


@pytest.mark.parametrize(("savings", "rows"), [
    (ALL, {"net": [2] * 3, "hint": [1], "idle": [], "down": [2] * 3, "mid": [3] * 3}),
    (NONE, {"net": [3] * 3, "hint": [3] * 3, "idle": [3] * 3, "down": [3] * 3, "mid": [3] * 3})], ids=["all", "none"])
def test_the_savings_are_real(savings: Savings, rows: dict[str, list[int]]) -> None:
    part, net, idle = tiny.sdxl(), tiny.controlnet("lines"), tiny.controlnet("depth")
    seen = {"net": calls(net.conv_in), "hint": calls(net.controlnet_cond_embedding), "idle": calls(idle.conv_in),
            "down": calls(part.unet.down_blocks[0]), "mid": calls(part.unet.mid_block)}
    ours(part, [net, idle], scales=(0.9, 0.0), savings=savings)
    assert seen == rows


@pytest.mark.parametrize("savings", [ALL, NONE], ids=["all", "none"])
@pytest.mark.parametrize("count", [0, 3])
def test_a_batch_is_its_pictures_one_by_one(
        weights: SdxlComponents, nets: list[Any], count: int, savings: Savings) -> None:
    both = ours(weights, nets[:count], pages=slice(0, 2), savings=savings)
    for page in (0, 1):
        alone = ours(weights, nets[:count], pages=slice(page, page + 1), savings=savings)
        assert far(both[page:page + 1], alone) <= 1e-5
    assert far(both[:1], both[1:]) > 0.1, "two pictures that are one would prove nothing"


def test_each_step_is_told_and_may_cancel_and_the_processors_are_put_back(
        weights: SdxlComponents, nets: list[Any]) -> None:
    before, told = dict(weights.unet.attn_processors), []

    def called() -> None:
        told.append(len(told))
        if len(told) == 2:
            raise KeyboardInterrupt

    drawn = generators([1])
    schedule = Schedule(3, 3, drawn)
    with pytest.raises(KeyboardInterrupt), torch.inference_mode():
        denoise(weights.unet, schedule.noise_alone(torch.empty(1, 4, 8, 8)), controls=[], schedule=schedule,
                prompts=encode_prompts(weights, ["a"], [""]), guidance=Guidance(scale=4.0, pag_scale=2.0),
                called=called)
    assert told == [0, 1]
    assert all(weights.unet.attn_processors[name] is found for name, found in before.items())


def test_a_layer_that_is_not_there_is_refused(weights: SdxlComponents) -> None:
    with pytest.raises(ValueError, match=r"pag_layers=\('middle',\)"):
        ours(weights, [], guidance=Guidance(scale=4.0, pag_scale=2.0, pag_layers=("middle",)))
