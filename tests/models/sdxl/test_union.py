"""One ControlNet-Union against diffusers' pipelines, on tiny weights, by the final latents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from diffusers import PerturbedAttentionGuidance, StableDiffusionXLControlNetUnionImg2ImgPipeline
from diffusers.modular_pipelines import StableDiffusionXLAutoBlocks

from models import tiny
from models.components import SdxlComponents
from models.sdxl.denoise import ALL, Savings, denoise
from models.sdxl.encode import encode
from models.sdxl.guidance import Guidance
from models.sdxl.schedule import Schedule, generators, scheduler
from models.sdxl.text import encode_prompts
from models.sdxl.union import KINDS, UnionControl

HEIGHT, WIDTH, SEEDS = 64, 96, (3, 11)
PROMPTS, NEGATIVES = ["a mug on a table", "a red shoe"], ["people", "blurry"]
REPAINT, LINE, DEPTH = KINDS["repaint"], KINDS["line"], KINDS["depth"]


@pytest.fixture(scope="module")
def weights() -> SdxlComponents:
    return tiny.sdxl()


@pytest.fixture(scope="module")
def union() -> Any:
    return tiny.union()


def pictures(seed: int) -> torch.Tensor:
    return torch.rand((2, 3, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(seed))


STARTS, MAPS = pictures(1), {REPAINT: pictures(2), LINE: pictures(3), DEPTH: pictures(4)}


def ours(weights: SdxlComponents, union: Any, scales: dict[int, float], *, pages: slice = slice(0, 1),
         pag_scale: float = 0.0, savings: Savings = ALL) -> torch.Tensor:
    with torch.inference_mode():
        drawn = generators(SEEDS[pages])
        schedule = Schedule(3, 3, drawn)
        control = UnionControl(union, [MAPS[kind][pages] for kind in scales], list(scales), list(scales.values()))
        return denoise(
            weights.unet, schedule.noised(encode(weights.vae, STARTS[pages], drawn)), controls=[control],
            prompts=encode_prompts(weights, PROMPTS[pages], NEGATIVES[pages]), schedule=schedule,
            guidance=Guidance(scale=4.0, pag_scale=pag_scale), savings=savings)


def theirs(weights: SdxlComponents, union: Any, scales: dict[int, float], page: int = 0) -> torch.Tensor:
    pipeline = StableDiffusionXLControlNetUnionImg2ImgPipeline(
        **vars(weights), controlnet=union, scheduler=scheduler(), add_watermarker=False)
    pipeline.set_progress_bar_config(disable=True)
    one = slice(page, page + 1)
    with torch.inference_mode():
        positive, negative = encode_prompts(weights, PROMPTS[one], NEGATIVES[one])
        made: torch.Tensor = pipeline(
            image=STARTS[one], strength=1.0, control_image=[MAPS[kind][one] for kind in scales],
            control_mode=list(scales), controlnet_conditioning_scale=list(scales.values()),
            prompt_embeds=positive.sequence, negative_prompt_embeds=negative.sequence,
            pooled_prompt_embeds=positive.pooled, negative_pooled_prompt_embeds=negative.pooled,
            num_inference_steps=3, guidance_scale=4.0, generator=generators(SEEDS[one])[0], output_type="latent").images
    return made


def far(one: torch.Tensor, other: torch.Tensor) -> float:
    assert one.shape == other.shape
    assert other.std() > 0.1, "flat latents would prove nothing"
    return float((one - other).abs().max() / other.abs().max())


@pytest.mark.parametrize("scales", [
    {LINE: 1.0}, {LINE: 0.5}, {REPAINT: 1.0, LINE: 1.0}, {REPAINT: 0.9, LINE: 0.6, DEPTH: 0.4}])
def test_it_is_the_union_pipeline(weights: SdxlComponents, union: Any, scales: dict[int, float]) -> None:
    assert far(ours(weights, union, scales), theirs(weights, union, scales)) <= 1e-5


def test_each_kind_has_its_own_map_and_scale(weights: SdxlComponents, union: Any) -> None:
    whole = ours(weights, union, {REPAINT: 0.9, LINE: 0.6})
    for other in ({REPAINT: 0.6, LINE: 0.9}, {REPAINT: 0.9, DEPTH: 0.6}, {REPAINT: 0.9}):
        assert far(ours(weights, union, other), whole) > 1e-3


def test_a_kind_of_scale_0_is_left_out(weights: SdxlComponents, union: Any) -> None:
    """Left in, its flag and its token would stay, and another picture would come out."""
    without = ours(weights, union, {REPAINT: 0.9, LINE: 0.6})
    assert far(ours(weights, union, {REPAINT: 0.9, LINE: 0.6, DEPTH: 0.0}), without) == 0
    assert far(theirs(weights, union, {REPAINT: 0.9, LINE: 0.6, DEPTH: 0.0}), without) > 1e-3


@pytest.mark.parametrize("pag_scale", [0.0, 2.0])
def test_a_batch_is_its_pictures_one_by_one(weights: SdxlComponents, union: Any, pag_scale: float) -> None:
    """diffusers' own forward lets pictures of a batch see each other."""
    scales = {REPAINT: 0.9, LINE: 0.6, DEPTH: 0.4}
    both = ours(weights, union, scales, pages=slice(0, 2), pag_scale=pag_scale)
    for page in (0, 1):
        alone = ours(weights, union, scales, pages=slice(page, page + 1), pag_scale=pag_scale)
        assert far(both[page:page + 1], alone) <= 1e-5
    assert far(both[:1], both[1:]) > 0.1


@pytest.mark.parametrize(("saving", "scale"), [
    ("control_rows", 0.9), ("shared_encoder", 0.9), ("hints", 0.9), ("idle_nets", 0.0)])
def test_each_saving_changes_nothing(saving: str, scale: float) -> None:
    part, net = tiny.sdxl(), tiny.union().double()
    for module in (part.unet, part.vae, part.text_encoder, part.text_encoder_2):
        module.double()
    scales = {REPAINT: scale, LINE: 0.6 if scale else 0.0}
    with_it = ours(part, net, scales, pag_scale=2.0)
    without = ours(part, net, scales, pag_scale=2.0, savings=Savings(**{saving: False}))
    assert far(with_it, without) <= 1e-6


def by_modular(weights: SdxlComponents, union: Any, kinds: Sequence[int], scale: float) -> torch.Tensor:
    """diffusers' modular blocks with their PAG guider, where they are right: one scale for all kinds, one picture, and
    a guider told to begin before the first step (spec/omni-bg.md 3.4)."""
    blocks = len(weights.unet.mid_block.attentions[0].transformer_blocks)
    guider = PerturbedAttentionGuidance(
        guidance_scale=4.0, perturbed_guidance_scale=2.0, perturbed_guidance_start=-0.4, perturbed_guidance_stop=1.0,
        perturbed_guidance_config={
            "indices": list(range(blocks)), "fqn": "mid_block.attentions.0.transformer_blocks", "skip_attention": False,
            "skip_ff": False, "skip_attention_scores": True})
    pipeline = StableDiffusionXLAutoBlocks().init_pipeline()
    pipeline.update_components(**vars(weights), controlnet=union, scheduler=scheduler(), guider=guider)
    pipeline.set_progress_bar_config(disable=True)
    one = slice(0, 1)
    made: torch.Tensor = pipeline(
        prompt=PROMPTS[0], negative_prompt=NEGATIVES[0], image=STARTS[one], strength=1.0, num_inference_steps=3,
        control_image=[MAPS[kind][one] for kind in kinds], control_mode=list(kinds), height=HEIGHT, width=WIDTH,
        controlnet_conditioning_scale=scale, generator=generators(SEEDS[one])[0], output="latents")
    return made


@pytest.mark.parametrize("kinds", [(LINE,), (REPAINT, LINE), (REPAINT, LINE, DEPTH)])
def test_with_pag_it_is_the_modular_blocks_where_those_are_right(
        weights: SdxlComponents, union: Any, kinds: tuple[int, ...]) -> None:
    wanted = by_modular(weights, union, kinds, 0.7)
    assert far(ours(weights, union, dict.fromkeys(kinds, 0.7), pag_scale=2.0), wanted) <= 1e-5
    assert far(ours(weights, union, dict.fromkeys(kinds, 0.7), pag_scale=0.0), wanted) > 1e-2
