"""What a file of weights must be before any library opens it: one of four kinds, by its content and not its name.

The format is https://huggingface.co/docs/safetensors: 8 bytes little-endian N, N bytes of JSON naming each tensor's
dtype, shape and place, then the tensors' bytes, without a hole. No torch here; a few reads and no bytes of tensors.

A pickle (.pth) can do anything while it is read. One is let through only where a file exists in no other form, and only
the very bytes whose digest the table of weights knows; the reader is restricted all the same (models/loaders.py).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from models.errors import WeightsError
from models.onnx_check import check_graph
from models.profiles import WeightFile

ITEM_BYTES = {"F32": 4, "F16": 2, "BF16": 2, "I64": 8}
"""The dtypes a file may hold. I64 is for position ids and counters beside the weights."""

MOST_HEADER = 4_000_000
"""Bytes. SDXL's UNet, the largest here, has some 1,700 tensors in some 220,000 bytes (measured on its classes at toy
size, 2026-11-21: 130 bytes a tensor)."""
MOST_DIMENSIONS = 8
MOST_TEXT = 10_000_000
"""Bytes of a .json or .txt file. The largest here, a CLIP vocabulary, has 1 MB."""
SIZE_SLACK = 1.03
"""The table's sizes are rounded as their pages show them: 2.5 GB may be 2.549."""

NAMES_CODE = frozenset({"attn_implementation", "_attn_implementation", "experts_implementation",
                        "_experts_implementation", "quantization_config", "custom_pipeline", "custom_pipelines"})
"""Fields of a configuration by which the libraries would bring in other code: transformers 5.23 loads what a
config.json calls attn_implementation as a kernel from the Hub where the package `kernels` is installed (tried
2026-11-21). auto_map is not among them: the classes we call by name do not read it."""


def check_file(path: Path, file: WeightFile) -> None:
    """Refuse what no honest copy of `file` could be. Raises WeightsError naming it: not what its ending says, larger
    than the table allows, a header that does not describe the bytes behind it, a configuration that names code."""
    try:
        with path.open("rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            if size > most_bytes(file):
                raise ValueError(f"has {size} bytes, more than the {most_bytes(file)} it may have")
            suffix = PurePosixPath(file.path).suffix  # the table's, since a file half fetched has another name
            if suffix == ".safetensors":
                header, begin = _header(opened, size)
                _check_tensors(header, size - begin)
            elif suffix == ".onnx":
                check_graph(opened.read())
            elif suffix == ".json":
                _check_configuration(json.loads(opened.read()))
            elif suffix == ".pth":
                _check_known(hashlib.file_digest(opened, "sha256").hexdigest(), file)
            elif suffix != ".txt":
                raise ValueError("is neither .safetensors nor .onnx nor .json nor .txt, nor a .pth the table knows")
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{file.key} {_reason(error)}", field="weights_dir", value=str(path),
                           remedy=f"Nothing of it was loaded. Fetch the file again from {file.repo}") from error


def most_bytes(file: WeightFile) -> int:
    """What the file may have at most."""
    return MOST_TEXT if file.size_bytes is None else int(file.size_bytes * SIZE_SLACK)


def _reason(error: Exception) -> str:
    no_json = isinstance(error, (json.JSONDecodeError, UnicodeDecodeError, RecursionError))
    return "holds no valid JSON" if no_json else str(error)


def _check_known(digest: str, file: WeightFile) -> None:
    if digest != file.sha256:
        raise ValueError(f"is a pickle, and not the one that the table of weights knows: its digest is {digest}")


def _header(opened: IO[bytes], size: int) -> tuple[dict[str, Any], int]:
    """The JSON object before the tensors, and where it ends."""
    length = int.from_bytes(opened.read(8), "little")
    if not 2 <= length <= min(MOST_HEADER, size - 8):
        raise ValueError("is not safetensors, whatever its name: it does not begin with the length of a header")
    text = opened.read(length)
    if not text.startswith(b"{"):
        raise ValueError("is not safetensors, whatever its name: its header is no JSON object")
    header: dict[str, Any] = json.loads(text, object_pairs_hook=_unique)
    return header, 8 + length


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Two readers of a doubled name could see two different tensors."""
    if len(dict(pairs)) != len(pairs):
        raise ValueError("says something twice in its header")
    return dict(pairs)


def _check_tensors(header: dict[str, Any], size: int) -> None:
    """Each of the `size` bytes behind the header belongs to exactly one tensor, and each tensor has its shape's bytes:
    a file of 1 kB cannot stand for 10^11 elements, as strides of zero let a pickle do."""
    metadata = header.pop("__metadata__", {})
    if not (isinstance(metadata, dict) and all(isinstance(text, str) for text in metadata.values())):
        raise ValueError("has metadata that are not texts")
    end = 0
    for begin, stop, name in sorted(_place(name, facts) for name, facts in header.items()):
        if begin != end:
            what = "shares bytes with another tensor" if begin < end else "leaves bytes before it that are nobody's"
            raise ValueError(f"has the tensor {name!r:.80}, which {what}")
        end = stop
    if end != size:
        raise ValueError(f"has {size} bytes of tensors, and its header describes {end}")


def _place(name: str, facts: Any) -> tuple[int, int, str]:
    """Where a tensor begins and stops behind the header, and its name."""
    if not isinstance(facts, dict) or set(facts) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"does not give the tensor {name!r:.80} a dtype, a shape and its place, and nothing else")
    dtype, shape, offsets = facts["dtype"], facts["shape"], facts["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise ValueError(f"has the tensor {name!r:.80} of a dtype that is none of {', '.join(ITEM_BYTES)}")
    if not _naturals(shape) or len(shape) > MOST_DIMENSIONS:
        raise ValueError(f"has the tensor {name!r:.80} without a shape of at most {MOST_DIMENSIONS} sides of 1 or more")
    if not _naturals(offsets, least=0) or len(offsets) != 2:
        raise ValueError(f"has the tensor {name!r:.80} in no place")
    begin, stop = offsets
    if stop - begin != math.prod(shape) * ITEM_BYTES[dtype]:
        raise ValueError(f"has the tensor {name!r:.80} in {stop - begin} bytes, which is not what its shape takes")
    return begin, stop, name


def _naturals(value: Any, least: int = 1) -> bool:
    """Is it a list of whole numbers? True and 1.0 are none. Bounded, so that a product of them is one too."""
    return isinstance(value, list) and all(type(number) is int and least <= number < 2**48 for number in value)


def _check_configuration(value: Any) -> None:
    if not isinstance(value, dict):
        raise ValueError("is not a JSON object")
    named = sorted(NAMES_CODE & set(_fields(value)))
    if named:
        raise ValueError(f"asks for other code in its field {named[0]}")


def _fields(value: Any) -> Iterator[str]:
    """The names of all its fields, at every depth."""
    for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(name, str):
            yield name
        if isinstance(inner, dict | list):
            yield from _fields(inner)
