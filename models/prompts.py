"""SDXL prompts of any length as embeddings: in chunks of 75 tokens, so that no word falls behind CLIP's 77th position.

diffusers' own pipelines cut there with a log line, and what they cut first is the quality suffix.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from models.components import SdxlComponents

CHUNK = 75
"""Tokens of text in a chunk: CLIP's 77 positions (Radford et al. 2021, 2.4) less its begin and end tokens."""


class PromptEmbeddings(NamedTuple):
    """What SDXL's UNet and ControlNets are conditioned on; device and dtype are the text encoders'.

    For k chunks: `positive` and `negative` are (1, 77 k, width of both encoders together), `pooled` and
    `negative_pooled` (1, projection width of the second encoder).
    """

    positive: torch.Tensor
    negative: torch.Tensor
    pooled: torch.Tensor
    negative_pooled: torch.Tensor


def encode_prompts(weights: SdxlComponents, prompt: str, negative_prompt: str) -> PromptEmbeddings:
    """Encode both texts whole. Each chunk is begin, 75 tokens, end and padding; chunks follow one another in sequence.

    The shorter text is filled up with chunks of empty text, because guidance batches the two. A text that fits one
    chunk gives what diffusers 0.42.1's `encode_prompt` gives. The pooled embedding is that of the first chunk (there is
    one vector and the subject stands first). An empty negative prompt is encoded as empty text, not as zeros: zeros are
    what diffusers puts for None, and a document's empty field is a text.
    """
    tokenizers = (weights.tokenizer, weights.tokenizer_2)
    tokens = [[_tokens(tokenizer, text) for tokenizer in tokenizers] for text in (prompt, negative_prompt)]
    chunks = max(1, *(-(-len(ids) // CHUNK) for both in tokens for ids in both))
    positive, pooled = _encode(weights, tokens[0], chunks)
    negative, negative_pooled = _encode(weights, tokens[1], chunks)
    return PromptEmbeddings(positive, negative, pooled, negative_pooled)


def _tokens(tokenizer: Any, text: str) -> list[int]:
    """The whole text's token ids, without begin and end. Not verbose: the length it would warn of is chunked here."""
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False).input_ids
    return ids


def _encode(weights: SdxlComponents, tokens: list[list[int]], chunks: int) -> tuple[torch.Tensor, torch.Tensor]:
    """One text's tokens by either tokenizer -> its sequence (1, 77 chunks, both widths) and pooled vector (1, width).

    SDXL was trained on both encoders' last layer but one (Podell et al. 2023, 2.1 and its reference code).
    """
    first = weights.text_encoder(
        _padded(weights.tokenizer, tokens[0], chunks).to(weights.text_encoder.device), output_hidden_states=True)
    second = weights.text_encoder_2(
        _padded(weights.tokenizer_2, tokens[1], chunks).to(weights.text_encoder_2.device), output_hidden_states=True)
    hidden = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
    return hidden.reshape(1, -1, hidden.shape[-1]), second.text_embeds[:1]


def _padded(tokenizer: Any, ids: list[int], chunks: int) -> torch.Tensor:
    """Token ids as (chunks, 77), padded with the tokenizer's own token: SDXL's second one pads with "!" and not with
    the end token, and other padding moves the embeddings of every prompt."""
    rows = []
    for start in range(0, chunks * CHUNK, CHUNK):
        text = ids[start:start + CHUNK]
        padding = [tokenizer.pad_token_id] * (CHUNK - len(text))
        rows.append([tokenizer.bos_token_id, *text, tokenizer.eos_token_id, *padding])
    return torch.tensor(rows)
