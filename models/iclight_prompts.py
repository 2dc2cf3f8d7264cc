"""IC-Light's prompts as SD 1.5 embeddings: whole texts in chunks of 75 tokens, repeated to equal length.

The facts are of `encode_prompt_inner` and `encode_prompt_pair` in lllyasviel/IC-Light at bcf3f29 (spec/omni-bg.md 2.5).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from models.components import IcLightComponents


class TextPair(NamedTuple):
    """Both (1, 77 k, width) for k chunks, on the text encoder's device and in its dtype."""

    positive: torch.Tensor
    negative: torch.Tensor


def encode_pair(weights: IcLightComponents, prompt: str, negative_prompt: str) -> TextPair:
    """Encode both texts whole; the one with fewer chunks starts over from its first until both have as many.

    Repeated, and not filled up with empty chunks as models.prompts does for SDXL: IC-Light's published pictures depend
    on it. An empty text is one chunk without tokens, where the original divides by zero.
    """
    positive, negative = (_chunks(weights, text) for text in (prompt, negative_prompt))
    count = max(len(positive), len(negative))
    return TextPair(_in_sequence(positive, count), _in_sequence(negative, count))


def _chunks(weights: IcLightComponents, text: str) -> torch.Tensor:
    """(chunks, 77, width): the encoder's last layer, no layer skipped. Padded with the end token."""
    tokenizer: Any = weights.tokenizer
    room = tokenizer.model_max_length - 2  # 77 positions less begin and end
    ids = tokenizer(text, add_special_tokens=False, truncation=False, verbose=False).input_ids
    rows = []
    for start in range(0, max(1, len(ids)), room):
        part = ids[start:start + room]
        rows.append([tokenizer.bos_token_id, *part, *[tokenizer.eos_token_id] * (1 + room - len(part))])
    encoded: torch.Tensor = weights.text_encoder(
        torch.tensor(rows, device=weights.text_encoder.device)).last_hidden_state
    return encoded


def _in_sequence(chunks: torch.Tensor, count: int) -> torch.Tensor:
    """(chunks, 77, width) -> (1, 77 count, width), starting over where `count` is larger."""
    return chunks[[index % len(chunks) for index in range(count)]].flatten(0, 1)[None]
