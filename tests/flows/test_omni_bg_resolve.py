import pytest

from flows.documents import DocumentError, validate
from flows.methods import Methods
from flows.omni_bg_document import OmniBgParams
from flows.omni_bg_resolve import LIGHT_NEGATIVE_PROMPT, ResolvedOmniBg, resolve

BASE = {
    "image": "bottle.jpg", "subject": "a bottle", "placed_on": "a table", "background": "a kitchen",
    "camera_orientation": "front view", "camera_angle": "eye level", "main_light_direction": "light from the left",
    "proposed_background": "a bar", "proposed_brightness": 0.2, "seed": 7,
}
SUFFIX = ",high quality, medium format, f/32, realistic, cinematic, RAW"


def resolved(min_side: int = 64, **changes: object) -> ResolvedOmniBg:
    return resolve(validate(OmniBgParams, {**BASE, **changes}), min_side=min_side, methods=Methods())


def why(result: ResolvedOmniBg, field: str) -> tuple[object, object]:
    decision = next(item for item in result.decisions if item.field == field)
    return decision.requested, decision.resolved


def test_the_prompt_follows_the_fields_and_the_suffix_brings_its_own_comma() -> None:
    assert resolved().prompt == (
        "photograph of a bottle placed on a table, a kitchen, front view, eye level, light from the left" + SUFFIX)


def test_empty_parts_vanish_with_their_connectives() -> None:
    result = resolved(prompt_prefix="", placed_on=" ", camera_angle="", prompt_suffix="")
    assert result.prompt == "a bottle, a kitchen, front view, light from the left"
    assert resolved(subject="", prompt_suffix="").prompt.startswith("photograph placed on a table, a kitchen")


def test_an_override_prompt_stands_alone() -> None:
    result = resolved(override_prompt="just this")
    assert result.prompt == result.light_prompt == "just this"
    assert why(result, "override_prompt") == ("just this", "just this")


def test_a_blank_override_prompt_overrides_nothing() -> None:
    assert resolved(override_prompt="  ").prompt == resolved().prompt


def test_a_seed_of_minus_one_is_drawn_and_shown() -> None:
    results = [resolved(seed=-1) for _ in range(3)]
    assert len({result.document.seed for result in results}) == 3
    assert all(0 <= result.document.seed < 2**32 for result in results)
    assert why(results[0], "seed") == (-1, results[0].document.seed)


def test_a_given_seed_stays_and_each_stage_has_its_own() -> None:
    result = resolved(seed=7)
    assert result.document.seed == 7
    assert len({result.first_seed, result.second_seed, result.light_seed}) == 3
    assert (result.first_seed, result.light_seed) == (resolved(seed=7).first_seed, resolved(seed=7).light_seed)


@pytest.mark.parametrize(("asked", "runs"), [(768, 768), (770, 768), (784, 800), (783, 768), (65, 64)])
def test_sizes_are_rounded_to_multiples_of_32_and_said_so(asked: int, runs: int) -> None:
    result = resolved(height=asked)
    assert result.document.height == runs
    assert asked == runs or why(result, "height") == (asked, runs)


def test_a_side_below_what_the_weights_accept_is_refused_by_name() -> None:
    with pytest.raises(DocumentError, match="width=100: is below the 256 pixels"):
        resolved(min_side=256, width=100)
    assert resolved(min_side=64, width=100).document.width == 96


@pytest.mark.parametrize(("proposed", "counts"), [(0.2, 0.2), (7.5, 1.0), (-3.0, -1.0), (0.5, 0.5)])
def test_the_proposed_brightness_counts_where_none_was_chosen_and_is_clamped(proposed: float, counts: float) -> None:
    assert resolved(proposed_brightness=proposed).document.background_brightness == counts


def test_a_chosen_brightness_wins() -> None:
    assert resolved(background_brightness=-0.5).document.background_brightness == -0.5


def test_the_proposed_background_counts_where_background_is_blank() -> None:
    result = resolved(background="  ")
    assert "a bar" in result.prompt
    assert why(result, "background") == ("  ", "a bar")
    assert "a bar" not in resolved().prompt


def test_the_light_pass_gets_its_own_additions() -> None:
    assert resolved().light_prompt == resolved().prompt + ", best quality"
    assert resolved().light_negative_prompt == LIGHT_NEGATIVE_PROMPT
    assert resolved(negative_prompt="people").light_negative_prompt == "people"


def test_a_resolved_document_survives_storage() -> None:
    result = resolved(seed=-1, background="")
    assert ResolvedOmniBg.model_validate(result.model_dump(mode="json")) == result
