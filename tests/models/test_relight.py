from copy import deepcopy
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from models import tiny
from models.components import IcLightComponents
from models.errors import InputError
from models.iclight import merge_offsets
from models.params import RelightParams
from models.passes import PASSES, PassContext
from models.pictures import Picture, Size, flat, over, size_of
from models.relight import SIDES, first_stage_size, padded, relight, relight_batch, stages_for


@pytest.fixture(scope="module")
def weights() -> IcLightComponents:
    return IcLightComponents(unet=merge_offsets(tiny.sd15_unet(), tiny.iclight_offsets(8)), vae=tiny.sd15_vae(),
                             text_encoder=tiny.sd15_text_encoder(), tokenizer=tiny.tokenizer())


def params(**changes: Any) -> RelightParams:
    given = {"prompt": "a jar on oak", "negative_prompt": "lowres", "seed": 3, "steps": 2, "guidance_scale": 7.0}
    return RelightParams(**(given | changes))


def disc(height: int, width: int, colour: tuple[int, int, int] = (180, 60, 40)) -> Picture:
    rows, columns = np.mgrid[0:height, 0:width]
    distance = np.hypot(rows - height / 2, columns - width / 2)
    placed = np.zeros((height, width, 4), dtype=np.uint8)
    placed[:, :, :3] = colour
    placed[:, :, 3] = np.clip((min(height, width) / 3 - distance) * 128 + 128, 0, 255)
    return placed


def shade(height: int, width: int, seed: int = 1) -> Picture:
    tiles = np.random.default_rng(seed).integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), np.uint8)
    return tiles.repeat(16, axis=0).repeat(16, axis=1)[:height, :width]


def relit(weights: IcLightComponents, placed: Picture, scene: Picture, **changes: Any) -> Picture:
    return relight(params(**changes), PassContext(models={"iclight_fbc": weights}), placed=placed, scene=scene)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (96, 160), (32, 32), (128, 64), (65, 127)])
def test_the_result_has_exactly_the_placed_size(weights: IcLightComponents, height: int, width: int) -> None:
    result = relit(weights, disc(height, width), shade(height, width))
    assert result.shape == (height, width, 3)
    assert result.dtype == np.uint8
    assert result.std() > 5


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 10])
def test_it_makes_steps_and_then_nine_tenths_of_them_rounded_down(weights: IcLightComponents, steps: int) -> None:
    seen: list[tuple[int, int]] = []
    context = PassContext(models={"iclight_fbc": weights}, on_step=lambda done, total: seen.append((done, total)))
    relight(params(steps=steps), context, placed=disc(64, 64), scene=shade(64, 64))
    expected = steps + 9 * steps // 10
    assert context.model_calls == expected
    assert seen == [(done, expected) for done in range(1, expected + 1)]


def test_the_steps_are_those_of_the_decimals_that_were_written() -> None:
    def executed(**changes: Any) -> list[int]:
        return [stage.executed for stage in stages_for(params(**changes), disc(64, 64), shade(64, 64))]

    assert all(executed(steps=steps) == [steps, 9 * steps // 10] for steps in range(1, 1001, 7))
    assert int(0.29 * 100) == 28
    assert executed(steps=100, highres_denoise=0.29) == [100, 29]
    assert executed(steps=7, highres_denoise=1) == [7, 7]


def test_the_second_stage_starts_inside_a_schedule_that_is_not_lengthened() -> None:
    low, high = stages_for(params(steps=10), disc(64, 64), shade(64, 64))
    assert (low.scheduled, high.scheduled) == (10, 10)


def test_both_stages_see_the_product_on_grey_and_the_scene() -> None:
    product, scene = disc(128, 192), shade(128, 192)
    low, high = stages_for(params(), product, scene)
    assert np.array_equal(high.conditions[0], over(product, flat(Size(128, 192), 127)))
    assert np.array_equal(high.conditions[1], scene)
    assert [size_of(picture) for picture in low.conditions] == [(64, 128), (64, 128)]
    for small, large in zip(low.conditions, high.conditions, strict=True):
        again = cv2.resize(large, (128, 64), interpolation=cv2.INTER_AREA)
        assert np.abs(small.astype(int) - again).mean() < 8, "the same picture, only smaller"


def test_the_same_request_gives_the_same_bytes_and_another_seed_others(weights: IcLightComponents) -> None:
    given = disc(64, 96), shade(64, 96)
    once = relit(weights, *given)
    torch.manual_seed(99)  # the global generator has no say
    assert np.array_equal(once, relit(weights, *given))
    assert not np.array_equal(once, relit(weights, *given, seed=4))


@pytest.mark.parametrize("change", [
    {"prompt": "a jar in snow"}, {"negative_prompt": "blurry"}, {"guidance_scale": 2.0}, {"steps": 3},
    {"highres_denoise": 1.0}])
def test_every_parameter_matters(weights: IcLightComponents, change: dict[str, Any]) -> None:
    given = disc(64, 64), shade(64, 64)
    assert not np.array_equal(relit(weights, *given), relit(weights, *given, **change))


def test_the_product_and_the_scene_both_matter(weights: IcLightComponents) -> None:
    usual = relit(weights, disc(64, 64), shade(64, 64))
    assert not np.array_equal(usual, relit(weights, disc(64, 64, (20, 90, 200)), shade(64, 64)))
    assert not np.array_equal(usual, relit(weights, disc(64, 64), shade(64, 64, seed=2)))


def test_colour_hidden_under_alpha_0_does_not_matter(weights: IcLightComponents) -> None:
    shown, hidden = disc(64, 64), disc(64, 64)
    hidden[hidden[:, :, 3] == 0] = (0, 255, 0, 0)
    assert np.array_equal(relit(weights, shown, shade(64, 64)), relit(weights, hidden, shade(64, 64)))


@pytest.mark.parametrize("texts", [{"negative_prompt": ""}, {"prompt": "", "negative_prompt": ""},
                                   {"prompt": "a jar " * 40, "negative_prompt": ""}])
def test_empty_texts_are_texts(weights: IcLightComponents, texts: dict[str, str]) -> None:
    assert relit(weights, disc(64, 64), shade(64, 64), **texts).shape == (64, 64, 3)


def test_the_weights_are_left_as_found(weights: IcLightComponents) -> None:
    modules = {"unet": weights.unet, "vae": weights.vae, "text_encoder": weights.text_encoder}
    before = {(part, name): value.clone() for part, module in modules.items()
              for name, value in module.state_dict().items()}
    forward = weights.unet.forward
    relit(weights, disc(64, 64), shade(64, 64))
    for part, module in modules.items():
        for name, value in module.state_dict().items():
            assert torch.equal(value, before[part, name]), f"{part}.{name}"
    assert weights.unet.forward == forward
    assert weights.unet.config.in_channels == 4


def test_half_precision_weights_give_about_the_same_picture(weights: IcLightComponents) -> None:
    """bfloat16 is what the zoo loads on a GPU; the noise and the solver stay float32. Random weights amplify it."""
    parts = {name: deepcopy(getattr(weights, name)).bfloat16() for name in ("unet", "vae", "text_encoder")}
    half = relit(IcLightComponents(**parts, tokenizer=weights.tokenizer), disc(96, 160), shade(96, 160))
    full = relit(weights, disc(96, 160), shade(96, 160))
    assert np.corrcoef(half.ravel(), full.ravel())[0, 1] > 0.9


@pytest.mark.parametrize(("full", "first"), [
    ((768, 1024), (384, 512)), ((1024, 1024), (512, 512)), ((64, 64), (64, 64)), ((128, 192), (64, 128)),
    ((2048, 2048), (576, 576)), ((1024, 4096), (256, 1088))])
def test_stage_1_is_half_the_size_but_no_larger_than_the_model_can_start(
        full: tuple[int, int], first: tuple[int, int]) -> None:
    assert first_stage_size(Size(*full)) == first


@pytest.mark.parametrize(("height", "width"), [(96, 160), (64, 128), (65, 127), (32, 1000)])
def test_padding_reflects_evenly_and_leaves_the_picture_in_the_middle(height: int, width: int) -> None:
    picture = shade(height, width)
    result = padded(picture)
    assert all(side % SIDES == 0 and 0 <= side - own < SIDES
               for side, own in zip(size_of(result), (height, width), strict=True))
    top, left = (result.shape[0] - height) // 2, (result.shape[1] - width) // 2
    assert np.array_equal(result[top:top + height, left:left + width], picture)
    if top:
        assert np.array_equal(result[top - 1], result[top + 1]), "the mirror stands in the first row, not before it"


@pytest.mark.parametrize(("height", "width"), [(96, 160), (90, 70)])
def test_what_is_padded_is_cropped_back_in_place(weights: IcLightComponents, height: int, width: int) -> None:
    """Padded by hand beforehand, so that nothing is padded inside, the middle of the result is the same."""
    product, scene = disc(height, width), shade(height, width)
    margins = [((-side % 64) // 2, -(side // -64) * 64 - side - (-side % 64) // 2) for side in (height, width)]
    larger = relit(weights, *(np.pad(picture, (*margins, (0, 0)), mode="reflect") for picture in (product, scene)))
    assert larger.shape[0] % 64 == larger.shape[1] % 64 == 0
    (top, _), (left, _) = margins
    assert np.array_equal(relit(weights, product, scene), larger[top:top + height, left:left + width])


def test_a_scene_of_another_size_is_refused(weights: IcLightComponents) -> None:
    with pytest.raises(InputError, match="96 x 64") as caught:  # both would be padded to the same size
        relit(weights, disc(64, 96), shade(60, 96))
    assert caught.value.field == "scene"


def test_a_batch_is_what_each_would_be_alone_with_the_calls_of_one(weights: IcLightComponents) -> None:
    """Within one level: test_iclight tells why not the same bytes. One prompt takes more chunks than the others."""
    given = [params(steps=4, seed=3), params(steps=4, seed=4, prompt="a red shoe", negative_prompt=""),
             params(steps=4, seed=5, prompt="a jar on a wooden table, " * 8)]
    pictures = [{"placed": disc(90, 150, (60 * number, 90, 40)), "scene": shade(90, 150, number)}
                for number in range(3)]
    seen: list[tuple[int, int]] = []
    context = PassContext(models={"iclight_fbc": weights}, on_step=lambda done, total: seen.append((done, total)))
    together = relight_batch(given, context, pictures)
    assert seen == [(done, 4 + 3) for done in range(1, 8)]
    assert context.model_calls == 4 + 3
    for made, one, pair in zip(together, given, pictures, strict=True):
        alone = relight(one, PassContext(models={"iclight_fbc": weights}), **pair)
        assert np.abs(made.astype(int) - alone).max() <= 1
    assert np.abs(together[0].astype(int) - together[1]).mean() > 10


@pytest.mark.parametrize(("changes", "height"), [
    ({"guidance_scale": 5.0}, 64), ({"steps": 3}, 64), ({"highres_denoise": 0.5}, 64), ({}, 60)])
def test_what_cannot_share_a_batch_is_refused(
        weights: IcLightComponents, changes: dict[str, Any], height: int) -> None:
    with pytest.raises(ValueError, match="cannot share a batch"):
        relight_batch([params(), params(**changes)], PassContext(models={"iclight_fbc": weights}),
                      [{"placed": disc(side, 64), "scene": shade(side, 64)} for side in (64, height)])


def test_prompts_and_seed_are_all_that_may_differ_in_a_batch() -> None:
    assert params().shared() == params(prompt="a shoe", negative_prompt="", seed=9).shared()
    assert PASSES["relight"].batch == "models.relight:relight_batch"
