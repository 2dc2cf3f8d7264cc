"""SDXL prompts of any length as embeddings: in chunks of 75 tokens, so that no word falls behind CLIP's 77th position.

diffusers' own pipelines cut there with a log line, and what they cut first is the quality suffix.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch

from models.components import SdxlComponents

CHUNK = 75
"""Tokens of text in a chunk: CLIP's 77 positions (Radford et al. 2021, 2.4) less its begin and end tokens."""


REMEMBERED = 64
"""Texts kept encoded for each encoder: 20 MB in half precision. Both passes of a job have the same, a catalog's jobs
the same negative one."""


class Text(NamedTuple):
    """What SDXL's UNet and ControlNets are told; device and dtype are the text encoders'.

    sequence: (rows, 77 k, width of both encoders together) for k chunks; pooled: (rows, width of the second's
    projection).
    """

    sequence: torch.Tensor
    pooled: torch.Tensor


class PromptEmbeddings(NamedTuple):
    """A row a picture in each."""

    positive: Text
    negative: Text


def encode_prompts(weights: SdxlComponents, prompts: Sequence[str], negative_prompts: Sequence[str],
                   ) -> PromptEmbeddings:
    """Encode texts whole. Each chunk is begin, 75 tokens, end and padding; chunks follow one another in sequence.

    Shorter texts are filled up with chunks of empty text, because guidance batches positive and negative; so pictures
    of a batch are as if alone where `chunks` of each is the same. A text that fits one chunk gives what diffusers
    0.42.1's `encode_prompt` gives. The pooled embedding is that of the first chunk (there is one vector and the subject
    stands first). An empty negative prompt is encoded as empty text, not as zeros: zeros are what diffusers puts for
    None, and a document's empty field is a text.
    """
    most = max(chunks(weights, *both) for both in zip(prompts, negative_prompts, strict=True))
    return PromptEmbeddings(*(_stacked([_encode_once(weights, text, most) for text in texts])
                              for texts in (prompts, negative_prompts)))


def chunks(weights: SdxlComponents, *texts: str) -> int:
    """How many chunks the longest of the texts takes, at least 1."""
    return max(1, *(-(-len(_tokens(tokenizer, text)) // CHUNK)
                    for text in texts for tokenizer in (weights.tokenizer, weights.tokenizer_2)))


def _stacked(texts: Sequence[Text]) -> Text:
    return Text(*(torch.cat(parts) for parts in zip(*texts, strict=True)))


def _tokens(tokenizer: Any, text: str) -> list[int]:
    """The whole text's token ids, without begin and end. Not verbose: the length it would warn of is chunked here."""
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False).input_ids
    return ids


_encoded: WeakKeyDictionary[Any, OrderedDict[tuple[str, int, torch.device, torch.dtype], Text]] = WeakKeyDictionary()
_lock = Lock()


def _encode_once(weights: SdxlComponents, text: str, chunks: int) -> Text:
    """`_encode`, remembered as long as the encoder lives; weights in memory never change."""
    encoder = weights.text_encoder_2
    asked = (text, chunks, encoder.device, encoder.dtype)
    with _lock:
        known = _encoded.setdefault(encoder, OrderedDict())
        if asked not in known:
            known[asked] = _encode(weights, text, chunks)
            if len(known) > REMEMBERED:
                known.popitem(last=False)
        known.move_to_end(asked)
        return known[asked]


def _encode(weights: SdxlComponents, text: str, chunks: int) -> Text:
    """One text in so many chunks. SDXL was trained on both encoders' last layer but one (Podell et al. 2023, 2.1 and
    its reference code)."""
    first, second = (encoder(_padded(tokenizer, _tokens(tokenizer, text), chunks).to(encoder.device),
                             output_hidden_states=True)
                     for tokenizer, encoder in ((weights.tokenizer, weights.text_encoder),
                                                (weights.tokenizer_2, weights.text_encoder_2)))
    hidden = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
    return Text(hidden.reshape(1, -1, hidden.shape[-1]), second.text_embeds[:1])


def _padded(tokenizer: Any, ids: list[int], chunks: int) -> torch.Tensor:
    """Token ids as (chunks, 77), padded with the tokenizer's own token: SDXL's second one pads with "!" and not with
    the end token, and other padding moves the embeddings of every prompt."""
    rows = []
    for start in range(0, chunks * CHUNK, CHUNK):
        text = ids[start:start + CHUNK]
        padding = [tokenizer.pad_token_id] * (CHUNK - len(text))
        rows.append([tokenizer.bos_token_id, *text, tokenizer.eos_token_id, *padding])
    return torch.tensor(rows)
