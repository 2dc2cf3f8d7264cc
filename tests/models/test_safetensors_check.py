"""Hostile files of weights: each ends in one WeightsError that names it, and nothing in it ever runs (G26)."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save

from models import loaders
from models.errors import WeightsError
from models.profiles import PROFILES, ModelSpec, WeightFile
from models.safetensors_check import MOST_HEADER, MOST_TEXT, check_file
from models.weights import PinnedModel

FILE = WeightFile(repo="shop/upscaler", revision=None, path="model.safetensors", sha256=None, licence="MIT",
                  commercial_use="yes", size_bytes=1_000_000)
CONFIG = dataclasses.replace(FILE, path="config.json", size_bytes=None)


def framed(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file of this header, whatever it says. length: what it claims to be long."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def tensor(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8), **more: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}


EIGHT = bytes(8)
HOSTILE = {
    "nothing at all": (b"", "not safetensors"),
    "seven bytes": (bytes(7), "not safetensors"),
    "a header of no length": (framed(b"", EIGHT), "not safetensors"),
    "a header longer than the file": (framed({}, length=1000), "not safetensors"),
    "a header of 2^64 - 1 bytes": (framed({}, length=2**64 - 1), "not safetensors"),
    "a header that is a list": (framed([]), "no JSON object"),
    "a header that begins with a space": (framed(b" {}"), "no JSON object"),
    "a header that breaks off": (framed(b'{"weight": {"dtype": "F32"'), "no valid JSON"),
    "a header that is not UTF-8": (framed(b'{"\xff\xfe": 1}'), "no valid JSON"),
    "a header of 100,000 brackets": (framed(b'{"a":' + b"[" * 100_000), "no valid JSON"),
    "a tensor named twice": (framed(b'{"a": {"dtype": "U8"}, "a": {"dtype": "F32"}}'), "twice in its header"),
    "metadata that are no texts": (framed({"__metadata__": {"format": 1}}), "metadata"),
    "metadata that are a list": (framed({"__metadata__": ["pt"]}), "metadata"),
    "a tensor that is a number": (framed({"a": 1}), "does not give the tensor 'a'"),
    "a tensor without a place": (framed({"a": {"dtype": "F32", "shape": [2]}}), "does not give the tensor 'a'"),
    "a tensor with strides": (framed({"a": tensor(strides=[0])}, EIGHT), "nothing else"),
    "an unknown dtype": (framed({"a": tensor("OBJECT")}, EIGHT), "of a dtype"),
    "a dtype that is a list": (framed({"a": tensor(["F32"])}, EIGHT), "of a dtype"),
    "a name without end": (framed({"n" * 5000: tensor("OBJECT")}, EIGHT), "of a dtype"),
    "a dtype no weights have": (framed({"a": tensor("C64", (1,))}, EIGHT), "of a dtype"),
    "a side below zero": (framed({"a": tensor(shape=(-2,))}, EIGHT), "without a shape"),
    "a side of zero": (framed({"a": tensor(shape=(10**12, 0), offsets=(0, 0))}), "without a shape"),
    "a side that is true": (framed({"a": tensor(shape=(True, 2))}, EIGHT), "without a shape"),
    "a side that is a fraction": (framed({"a": tensor(shape=(2.0,))}, EIGHT), "without a shape"),
    "a thousand sides": (framed({"a": tensor(shape=(1,) * 1000, offsets=(0, 4))}, bytes(4)), "without a shape"),
    "sides whose product is 2^192": (framed({"a": tensor(shape=(2**47,) * 4)}, EIGHT), "what its shape takes"),
    "sides beyond any number": (framed(b'{"a": {"dtype": "F32", "shape": [' + b"9" * 5000 + b'], "data_offsets": '
                                       b'[0, 8]}}', EIGHT), "integer string"),
    "10^11 elements in 8 bytes": (framed({"a": tensor(shape=(10**11,))}, EIGHT), "what its shape takes"),
    "a place beyond the file": (framed({"a": tensor(shape=(4,), offsets=(0, 16))}, EIGHT), "its header describes 16"),
    "a place that ends before it begins": (framed({"a": tensor(offsets=(8, 0))}, EIGHT), "what its shape takes"),
    "a place below zero": (framed({"a": tensor(offsets=(-8, 0))}, EIGHT), "in no place"),
    "three ends": (framed({"a": tensor(offsets=(0, 4, 8))}, EIGHT), "in no place"),
    "two tensors on the same bytes": (framed({"a": tensor(), "b": tensor()}, EIGHT), "shares bytes"),
    "two tensors that overlap": (framed({"a": tensor(), "b": tensor(offsets=(4, 12))}, bytes(12)), "shares bytes"),
    "a hole between tensors": (framed({"a": tensor(), "b": tensor(offsets=(16, 24))}, bytes(24)), "nobody's"),
    "bytes before the first tensor": (framed({"a": tensor(offsets=(8, 16))}, bytes(16)), "nobody's"),
    "bytes behind the last tensor": (framed({"a": tensor()}, bytes(9)), "has 9 bytes of tensors"),
    "no tensor and some bytes": (framed({}, EIGHT), "has 8 bytes of tensors"),
    "more bytes than the table allows": (save({"a": np.zeros(260_000, np.float32)}), "more than the 1030000"),
}


@pytest.mark.parametrize(("data", "says"), HOSTILE.values(), ids=HOSTILE)
def test_a_malformed_file_is_one_error_that_names_it(tmp_path: Path, data: bytes, says: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=says) as caught:
        check_file(path, FILE)
    assert str(caught.value).startswith(f"weights_dir={str(path)!r}: shop/upscaler/model.safetensors ")
    assert "Fetch the file again from shop/upscaler" in str(caught.value)
    assert len(str(caught.value)) < 600
    assert "\n" not in str(caught.value)


def test_a_header_longer_than_any_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    large = dataclasses.replace(FILE, size_bytes=10 * MOST_HEADER)
    path.write_bytes(framed(b"{" + b" " * (MOST_HEADER - 2) + b"}"))
    check_file(path, large)
    path.write_bytes(framed(b"{" + b" " * (MOST_HEADER - 1) + b"}"))
    with pytest.raises(WeightsError, match="not safetensors"):
        check_file(path, large)


def test_what_the_library_writes_passes(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "model.safetensors"
    save_file({"a.weight": torch.rand(3, 4, 2, 2), "b": torch.rand(5).half(), "c": torch.rand(7).bfloat16(),
               "count": torch.tensor(3), "ids": torch.arange(77)[None]}, path, metadata={"format": "pt"})
    check_file(path, FILE)
    save_file({}, path)
    check_file(path, FILE)


class Canary:
    """Unpickled, it would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self._path),)


def by_pickle(path: Path, canary: Canary) -> None:
    path.write_bytes(pickle.dumps(canary))


def by_torch(path: Path, canary: Canary) -> None:
    torch.save({"weight": torch.zeros(2), "canary": canary}, path)


def by_old_torch(path: Path, canary: Canary) -> None:
    torch.save({"canary": canary}, path, _use_new_zipfile_serialization=False)


def by_zip_with_a_safetensors_start(path: Path, canary: Canary) -> None:
    """A zip is found from its end, so that a valid beginning would let two readers see two files."""
    path.write_bytes(framed({"a": tensor()}, EIGHT))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(canary))


@pytest.mark.parametrize("write", [by_pickle, by_torch, by_old_torch, by_zip_with_a_safetensors_start])
@pytest.mark.parametrize("check", [True, False], ids=["hashed", "not hashed"])
def test_a_pickle_under_another_name_never_runs(tmp_path: Path, write: Any, check: bool) -> None:
    """Though it was pinned, so that its digest fits."""
    import hashlib

    path = tmp_path / "shop/upscaler/model.safetensors"
    path.parent.mkdir(parents=True)
    canary = tmp_path / "canary"
    write(path, Canary(canary))
    spec = ModelSpec(name="hostile", kind="upscaler", source="files", files=(FILE,))
    model = PinnedModel(spec=spec, digest="0" * 64, folder=tmp_path,
                        sha256={FILE.key: hashlib.sha256(path.read_bytes()).hexdigest()})
    with pytest.raises(WeightsError, match=r"shop/upscaler/model.safetensors (is not safetensors|has \d+ bytes of)"):
        loaders.load(model, device="cpu", dtype=torch.float32, check=check)
    assert not canary.exists()
    pickle.loads(pickle.dumps(Canary(canary)))
    assert canary.exists()  # it does work where it is let


@pytest.mark.parametrize("field", ["attn_implementation", "_attn_implementation", "experts_implementation",
                                   "quantization_config", "custom_pipeline"])
def test_a_configuration_cannot_name_code(tmp_path: Path, field: str) -> None:
    path = tmp_path / "config.json"
    for config in ({"model_type": "clip", field: "evil/kernel"}, {"layers": [{"backbone_config": {field: "evil"}}]}):
        path.write_text(json.dumps(config))
        with pytest.raises(WeightsError, match=f"shop/upscaler/config.json asks for other code in its field {field}"):
            check_file(path, CONFIG)


@pytest.mark.parametrize(("text", "says"), [
    ("{", "no valid JSON"), ("[1]", "not a JSON object"), ('{"a":' + "[" * 100_000, "no valid JSON"),
    (" " * (MOST_TEXT + 1), "more than the")], ids=["broken", "a list", "deep", "long"])
def test_a_configuration_that_is_none_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(WeightsError, match=says):
        check_file(path, CONFIG)


@pytest.mark.parametrize("name", ["model.bin", "model.pt", "model.ckpt", "modeling.py", "model"])
def test_other_kinds_of_files_are_not_opened(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(save({"a": np.zeros(2, np.float32)}))
    with pytest.raises(WeightsError, match=r"neither .safetensors nor .onnx nor .json nor .txt"):
        check_file(path, dataclasses.replace(FILE, path=name))


def test_the_table_allows_every_file_the_size_it_is_published_with() -> None:
    for file in PROFILES["sdxl"].files:
        assert file.path.endswith((".safetensors", ".onnx", ".pth")) == (file.size_bytes is not None), file.key
