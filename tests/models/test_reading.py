"""Files read ahead: the digests are hashlib's, nobody waits in vain, and a changed file is still refused."""

from __future__ import annotations

import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from models import reading, tiny
from models.errors import WeightsError
from models.profiles import ModelSpec, WeightFile
from models.reading import Ahead, digest, reading_ahead
from models.weights import PinnedModel
from models.zoo import Zoo


@pytest.mark.parametrize("size", [0, 1, 4096, 4097, 40_000, 8 * 4096])
def test_a_file_read_in_blocks_has_its_own_digest(tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BLOCK", 4096)
    data = bytes(torch.randint(0, 256, (size,), dtype=torch.uint8).numpy())
    (tmp_path / "file").write_bytes(data)
    with ThreadPoolExecutor(3) as readers:
        assert digest(tmp_path / "file", readers) == hashlib.sha256(data).hexdigest()


def test_a_file_that_shrinks_while_it_is_read_is_another_file_and_no_hang(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BLOCK", 4096)
    monkeypatch.setattr(reading.os, "preadv", lambda *given: 0)
    (tmp_path / "file").write_bytes(bytes(10_000))
    with ThreadPoolExecutor(3) as readers:
        assert digest(tmp_path / "file", readers) == hashlib.sha256(b"").hexdigest()


@pytest.mark.parametrize("blocks", [(2,), (1, 1)], ids=["of one file", "of two files"])
def test_two_reads_are_under_way_at_once(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocks: tuple[int, ...]) -> None:
    """Each read begins and waits for another to begin; one after the other they would wait in vain."""
    monkeypatch.setattr(reading, "BLOCK", 4096)
    files = {tmp_path / f"file-{number}": bytes([number]) * 4096 * count for number, count in enumerate(blocks)}
    for path, data in files.items():
        path.write_bytes(data)
    both, preadv = threading.Barrier(2), os.preadv

    def waiting(*given: Any) -> int:
        both.wait(10)
        return preadv(*given)

    monkeypatch.setattr(reading.os, "preadv", waiting)
    ahead = Ahead(files)
    try:
        assert {path: ahead.digest(path) for path in files} == {
            path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
    finally:
        ahead.close()


def net(folder: Path, name: str, sha256: str | None = None) -> PinnedModel:
    """A tiny ControlNet in a file, pinned."""
    target = folder / "shop" / name
    if not target.exists():
        tiny.controlnet(name).save_pretrained(target)
    files = tuple(WeightFile(repo=f"shop/{name}", revision=None, path=path, sha256=None, licence="x",
                             commercial_use="yes", size_bytes=10**8 if path.endswith("rs") else None)
                  for path in ("config.json", "diffusion_pytorch_model.safetensors"))
    found = {file.key: hashlib.sha256((folder / file.key).read_bytes()).hexdigest() for file in files}
    if sha256 is not None:
        found[files[-1].key] = sha256
    spec = ModelSpec(name=name, kind="controlnet", source="files", files=files)
    return PinnedModel(spec=spec, digest=spec.digest(found), folder=folder, sha256=found, size_bytes=1)


def test_all_files_of_a_lease_are_read_while_the_first_model_is_built(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second's file is read to its end before the first's builder may return."""
    models = {name: net(tmp_path, name) for name in ("depth", "lines")}
    read: set[str] = set()
    both = threading.Event()
    real = reading.digest

    def watched(path: Path, readers: ThreadPoolExecutor) -> str:
        found = real(path, readers)
        read.add(path.parent.name)
        if len(read) == 2:
            both.set()
        return found

    from models import loaders
    load = loaders.load

    def slowly(model: PinnedModel, **settings: Any) -> Any:
        assert both.wait(10)
        return load(model, **settings)

    monkeypatch.setattr(reading, "digest", watched)
    monkeypatch.setattr(loaders, "load", slowly)
    with Zoo(device="cpu").lease(models) as loaded:
        assert torch.equal(loaded["lines"].conv_in.weight, tiny.controlnet("lines").conv_in.weight)


def test_a_file_read_ahead_that_is_not_as_pinned_is_refused(tmp_path: Path) -> None:
    models = {"depth": net(tmp_path, "depth"), "lines": net(tmp_path, "lines", sha256="0" * 64)}
    zoo = Zoo(device="cpu")
    with pytest.raises(WeightsError, match=r"shop/lines/diffusion_pytorch_model.safetensors is not the file"), \
            zoo.lease(models):
        pass
    assert [(resident.model.spec.name, resident.leases) for resident in zoo.loaded] == [("depth", 0)]


def test_what_is_in_memory_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zoo, model = Zoo(device="cpu"), net(tmp_path, "depth")
    with zoo.lease({"role": model}):
        pass
    monkeypatch.setattr(reading, "digest", lambda *given: pytest.fail("read again"))
    with zoo.lease({"role": model}):
        pass


def test_threads_end_with_the_lease_also_when_it_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(100_000))
    before = threading.active_count()
    with reading_ahead([net(tmp_path, "depth")]) as ahead:
        assert ahead.digest(tmp_path / "file") == hashlib.sha256(bytes(100_000)).hexdigest()
    with pytest.raises(KeyError), reading_ahead([net(tmp_path, "depth")]):
        raise KeyError("midway")
    assert threading.active_count() == before


def test_half_precision_goes_to_bfloat16_without_a_detour(tmp_path: Path) -> None:
    """Each value is the file's, rounded once; nothing of the model is float32 at any time but what is asked for."""
    source = tiny.controlnet("depth").half()
    target = tmp_path / "shop" / "half"
    target.mkdir(parents=True)
    save_file(source.state_dict(), target / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"})
    source.save_config(target)
    with Zoo(device="cpu", dtype="bfloat16").lease({"role": net(tmp_path, "half")}) as loaded:
        assert all(torch.equal(value, source.state_dict()[name].bfloat16())
                   for name, value in loaded["role"].state_dict().items())
