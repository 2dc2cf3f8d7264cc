"""Measurement 8 of spec/performance.md 8: weights from disk to device, and compiled code from its cache."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter

import torch
from safetensors.torch import load_file, save_file

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.timing import Figures

FILES, READERS, CHUNK = 8, 8, 64 * 2**20
"""A set of models is some eight files. CHUNK: bytes that one reader asks for at a time."""


def load(bench: Bench) -> None:
    """8. A set of safetensors from disk to the device, cold and warm: mapped, and read by several threads; compiled
    code made anew and taken from its cache by a new process."""
    with tempfile.TemporaryDirectory(prefix="backlot-load-") as folder:
        files = written(Path(folder), bench.scale.bytes, bench.dtype)
        ways: dict[str, Callable[[Sequence[Path], str], None]] = {
            "load_file to the device": mapped, f"{READERS} readers, pinned": read_in_parallel}
        for name, way in ways.items():
            for state in ("cold", "warm"):
                bench.case(f"{name}, {state}", lambda way=way, state=state: _timed(
                    way, files, bench.device, cold=state == "cold"))
    with tempfile.TemporaryDirectory(prefix="backlot-compiled-") as cache:
        for state in ("compiled anew", "compiled code from its cache, new process"):
            bench.case(state, lambda: _in_a_process(bench, cache))


def written(folder: Path, size: int, dtype: torch.dtype) -> list[Path]:
    """`size` bytes in FILES files of random tensors of 32 MB or less."""
    each = max(1, size // FILES)
    values = torch.randn(min(each, 32_000_000) // dtype.itemsize).to(dtype)
    tensors = {f"layer.{index}.weight": values.clone() for index in range(max(1, each // (32_000_000)))}
    found = [folder / f"{index}.safetensors" for index in range(FILES)]
    for path in found:
        save_file(tensors, path)
    return found


def _timed(way: Callable[[Sequence[Path], str], None], files: Sequence[Path], device: str, *, cold: bool) -> Figures:
    for path in files:
        _out_of_memory(path) if cold else path.read_bytes()
    begin = perf_counter()
    way(files, device)
    if device == "cuda":
        torch.cuda.synchronize()
    spent, size = perf_counter() - begin, sum(path.stat().st_size for path in files)
    return {"wall_ms": 1e3 * spent, "gb": size / 1e9, "gb_per_s": size / 1e9 / spent}


def _out_of_memory(path: Path) -> None:
    """Have the system forget the file's pages, so that they come from the disk. A disk below may still have them."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def mapped(files: Sequence[Path], device: str) -> None:
    """As the libraries do: each file mapped, each tensor copied to the device; on a CPU touched, since a map alone
    reads nothing."""
    for path in files:
        held = load_file(path, device=device)
        if device != "cuda":
            for tensor in held.values():
                tensor.sum()


def read_in_parallel(files: Sequence[Path], device: str) -> None:
    """READERS threads, each with one pinned buffer that it fills from a file and copies on, over and over."""
    def one(path: Path) -> torch.Tensor:
        buffer = torch.empty(CHUNK, dtype=torch.uint8, pin_memory=device == "cuda")
        view = memoryview(buffer.numpy())
        held = torch.empty(path.stat().st_size, dtype=torch.uint8, device=device)
        at = 0
        with path.open("rb", buffering=0) as file:
            while read := file.readinto(view):
                held[at:at + read].copy_(buffer[:read])
                at += read
        return held

    with ThreadPoolExecutor(READERS) as readers:
        list(readers.map(one, files))


def _in_a_process(bench: Bench, cache: str) -> Figures:
    asked = [sys.executable, "-m", "benchmarks.gpu.first_call", bench.device, bench.scale.mode]
    done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=900,
                          env=os.environ | {"TORCHINDUCTOR_CACHE_DIR": cache})
    if done.returncode:
        raise RuntimeError(f"the process ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    found: Figures = json.loads(done.stdout.splitlines()[-1])
    return found
