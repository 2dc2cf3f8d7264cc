"""Prompts: what fits 77 tokens is what diffusers encodes; what does not is not cut."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionXLPipeline

from models import tiny
from models.components import SdxlComponents
from models.sdxl.text import CHUNK, REMEMBERED, PromptEmbeddings, chunks, encode_prompts

# One token a letter in the tiny tokenizer, so this fills one chunk to the last place.
FULL = "photographofabottleonawoodentableseenfromtheleftwithwarmlightfromtheright12"


@pytest.fixture(scope="module")
def weights() -> SdxlComponents:
    """Tiny SDXL whose second tokenizer pads with "!", id 0, as the real one does."""
    drawn = tiny.sdxl()
    second = tiny.tokenizer()
    second.pad_token = "!"
    assert second.pad_token_id != drawn.tokenizer.pad_token_id
    return replace(drawn, tokenizer_2=second)


def encode(weights: SdxlComponents, prompt: str, negative: str = "") -> PromptEmbeddings:
    with torch.inference_mode():
        return encode_prompts(weights, [prompt], [negative])


def by_diffusers(weights: SdxlComponents, prompt: str, negative: str) -> list[torch.Tensor]:
    pipeline = StableDiffusionXLPipeline(
        **vars(weights), scheduler=DPMSolverMultistepScheduler(), add_watermarker=False)
    with torch.inference_mode():
        return list(pipeline.encode_prompt(prompt, device=torch.device("cpu"), negative_prompt=negative))


@pytest.mark.parametrize(("prompt", "negative"), [
    ("photograph of a mug, f/32", "blurry"), ("a", ""), ("", ""), (FULL, "people")],
    ids=["both", "empty negative", "both empty", "one chunk to its last token"])
def test_what_fits_one_chunk_is_encoded_as_diffusers_does(weights: SdxlComponents, prompt: str, negative: str) -> None:
    got = encode(weights, prompt, negative)
    (positive, pooled), (minus, minus_pooled) = got
    for ours, theirs in zip((positive, minus, pooled, minus_pooled), by_diffusers(weights, prompt, negative),
                            strict=True):
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().max() <= 1e-6
    assert got.positive.sequence.shape == (1, 77, 64)


def test_the_first_text_fills_one_chunk_exactly(weights: SdxlComponents) -> None:
    assert len(FULL) == CHUNK
    assert encode(weights, FULL).positive.sequence.shape[1] == 77
    assert encode(weights, FULL + "x").positive.sequence.shape[1] == 154


def test_a_word_behind_token_77_changes_the_embeddings_and_diffusers_would_have_cut_it(weights: SdxlComponents) -> None:
    one, other = encode(weights, FULL + " sharp"), encode(weights, FULL + " dusky")
    assert (one.positive.sequence[:, :77] == other.positive.sequence[:, :77]).all()
    assert (one.positive.sequence[:, 77:] - other.positive.sequence[:, 77:]).abs().max() > 1e-3
    cut_one, cut_other = (by_diffusers(weights, FULL + tail, "")[0] for tail in (" sharp", " dusky"))
    assert (cut_one == cut_other).all()


def test_each_chunk_is_the_encoding_of_its_own_text(weights: SdxlComponents) -> None:
    both = encode(weights, FULL + "sharp")
    first, second = encode(weights, FULL), encode(weights, "sharp")
    assert (both.positive.sequence[:, :77] - first.positive.sequence).abs().max() <= 1e-6
    assert (both.positive.sequence[:, 77:] - second.positive.sequence).abs().max() <= 1e-6
    assert (both.positive.pooled - first.positive.pooled).abs().max() <= 1e-6, "pooled comes from the first chunk"


@pytest.mark.parametrize(("prompt", "negative"), [(3 * FULL, "bad"), ("good", 3 * FULL)])
def test_both_texts_have_the_same_number_of_chunks_the_shorter_filled_with_empty_text(
        weights: SdxlComponents, prompt: str, negative: str) -> None:
    got = encode(weights, prompt, negative)
    assert got.positive.sequence.shape == got.negative.sequence.shape == (1, 3 * 77, 64)
    short = (got.positive if len(prompt) < len(negative) else got.negative).sequence
    empty = encode(weights, "").positive.sequence
    assert (short[:, 77:154] - empty).abs().max() <= 1e-6
    assert (short[:, 154:] - empty).abs().max() <= 1e-6


def test_an_empty_negative_is_encoded_as_text_and_not_as_zeros(weights: SdxlComponents) -> None:
    got = encode(weights, "a mug", "")
    assert (got.negative.sequence - encode(weights, "").positive.sequence).abs().max() <= 1e-6
    assert got.negative.sequence.abs().max() > 0.1
    assert got.negative.pooled.abs().max() > 0.01


def test_several_texts_are_rows_as_each_would_be_alone_among_as_many_chunks(weights: SdxlComponents) -> None:
    with torch.inference_mode():
        both = encode_prompts(weights, ["a mug", FULL + "x"], ["", "people"])
    assert [chunks(weights, text) for text in ("", "a mug", FULL, FULL + "x")] == [1, 1, 1, 2]
    alone = encode(weights, FULL + "x", "people")
    for rows, row in zip((*both.positive, *both.negative), (*alone.positive, *alone.negative), strict=True):
        assert len(rows) == 2
        assert (rows[1:] - row).abs().max() <= 1e-6
    assert (both.positive.sequence[:1, :77] - encode(weights, "a mug").positive.sequence).abs().max() <= 1e-6


def test_a_text_is_encoded_once_for_all_passes_that_show_it(weights: SdxlComponents) -> None:
    calls: list[int] = []
    hook = weights.text_encoder.register_forward_hook(lambda *_: calls.append(1))
    first = encode(weights, "a blue teapot", "cracks")
    again = encode(weights, "a blue teapot", "cracks")
    encode(weights, "another teapot", "cracks")
    assert sum(calls) == 3
    encode(weights, "a blue teapot", FULL + "yes")  # longer now, as guidance batches both
    hook.remove()
    assert sum(calls) == 5
    for ours, theirs in zip([*first.positive, *first.negative], [*again.positive, *again.negative], strict=True):
        assert torch.equal(ours, theirs)


def test_only_the_latest_texts_are_kept(weights: SdxlComponents) -> None:
    for number in range(REMEMBERED + 1):
        encode(weights, f"cup {number}", "")
    calls: list[int] = []
    hook = weights.text_encoder.register_forward_hook(lambda *_: calls.append(1))
    encode(weights, f"cup {REMEMBERED}", "")
    encode(weights, "cup 0", "")
    hook.remove()
    assert sum(calls) == 1
