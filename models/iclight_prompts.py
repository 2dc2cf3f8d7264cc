"""IC-Light's prompts as SD 1.5 embeddings: whole texts in chunks of 75 tokens, repeated to equal length.

The facts are of `encode_prompt_inner` and `encode_prompt_pair` in lllyasviel/IC-Light at bcf3f29 (spec/omni-bg.md 2.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch.nn.utils.rnn import pad_sequence

from models.components import IcLightComponents


class Texts(NamedTuple):
    """A row a request, on the text encoder's device and in its dtype.

    positive, negative: (requests, 77 k, width) for k chunks in the longest. mask: bool (requests, 77 k), False for what
    fills up a shorter request and is not to be attended to.
    """

    positive: torch.Tensor
    negative: torch.Tensor
    mask: torch.Tensor


def encode_texts(weights: IcLightComponents, pairs: Sequence[tuple[str, str]]) -> Texts:
    """Encode (prompt, negative prompt) of each request whole; of the two, the one with fewer chunks starts over from
    its first until both have as many.

    Repeated, and not filled up with empty chunks as models.sdxl.text does for SDXL: IC-Light's published pictures
    depend on it. Between requests of a batch a repetition would change the shorter one, so there the rest is masked. An
    empty text is one chunk without tokens, where the original divides by zero.
    """
    encoded = [_pair(weights, *both) for both in pairs]
    positive, negative = (pad_sequence(list(rows), batch_first=True) for rows in zip(*encoded, strict=True))
    lengths = torch.tensor([len(rows) for rows, _ in encoded], device=positive.device)
    mask = torch.arange(positive.shape[1], device=positive.device) < lengths[:, None]
    return Texts(positive, negative, mask)


def _pair(weights: IcLightComponents, prompt: str, negative_prompt: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Both (77 k, width)."""
    positive, negative = (_chunks(weights, text) for text in (prompt, negative_prompt))
    count = max(len(positive), len(negative))
    return _in_sequence(positive, count), _in_sequence(negative, count)


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
    """(chunks, 77, width) -> (77 count, width), starting over where `count` is larger."""
    return chunks[[index % len(chunks) for index in range(count)]].flatten(0, 1)
