"""How many photos a second pass the photo gate, against decoding in the process that asks.

    python benchmarks/gate.py          prints the table and writes benchmarks/results/DATE-gate.md

Three sets: ordinary 12-megapixel JPEGs, product pictures of 2 megapixels, and the hostile files of tests/helpers.

Reading of 2026-11-21: one child decodes a quarter (2 MP) to a third (12 MP) fewer photos a second than the process that
asks would itself; two children on two cores decode 1.35 to 1.6 times as many, and four on two cores no more than two. A
refusal takes 1 ms where it took 0.25 ms.
"""

from __future__ import annotations

import logging
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from models.errors import PhotoRefused
from models.photos import decode_photo
from tasks.gate import PhotoGate
from tasks.gate_child import DecoderChild

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = ROOT / "examples/products/hard-wood.jpg"
WORKERS = (1, 2, 4)
sys.path.insert(0, str(ROOT / "tests/helpers"))

from hostile import hostile_files  # noqa: E402
from photo_files import saved  # noqa: E402


@dataclass(frozen=True, kw_only=True)
class Photos:
    """What is sent in a run; ordinary photos are a few files again and again."""

    name: str
    files: tuple[bytes, ...]


def enlarged(width: int, height: int, seed: int) -> bytes:
    """The sample product at this size with grain of 3 levels, as a camera saves it: quality 92, 4:2:0."""
    photo = Image.open(PRODUCT).convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    grain = np.random.default_rng(seed).normal(0.0, 3.0, (height, width, 1))
    return saved(np.clip(np.rint(np.asarray(photo) + grain), 0, 255).astype(np.uint8), "JPEG", quality=92)


def sets() -> Iterator[Photos]:
    yield Photos(name="JPEG of 12 MP (4000 x 3000)", files=tuple(enlarged(4000, 3000, n) for n in range(4)) * 6)
    yield Photos(name="JPEG of 2 MP (1600 x 1200)", files=tuple(enlarged(1600, 1200, n) for n in range(4)) * 30)
    hostile = tuple(file.data for file in hostile_files() if len(file.data) < 50_000_000)
    yield Photos(name="hostile files", files=hostile)


def rate(photos: Photos, decode: Callable[[bytes], object], threads: int) -> float:
    """Photos a second, all of them sent at once to `threads` threads."""

    def one(data: bytes) -> None:
        with suppress(PhotoRefused):
            decode(data)

    with ThreadPoolExecutor(threads) as pool:
        start = time.perf_counter()
        list(pool.map(one, photos.files))
        return len(photos.files) / (time.perf_counter() - start)


def rates(photos: Photos) -> str:
    """One row of the table."""
    measured = [rate(photos, lambda data: decode_photo(data, name="photo"), 1)]
    for workers in WORKERS:
        with PhotoGate(workers) as gate:
            rate(Photos(name="warm up", files=photos.files[:workers]), lambda data: gate.decode(data, name="photo"),
                 workers)
            measured.append(rate(photos, lambda data: gate.decode(data, name="photo"), workers))
    megabytes = sum(map(len, photos.files)) / len(photos.files) / 1e6
    return f"| {photos.name} | {len(photos.files)} | {megabytes:.2f} | " + " | ".join(
        f"{figure:,.1f}" for figure in measured) + " |"


def start_ms() -> float:
    taken = []
    for _ in range(5):
        start = time.perf_counter()
        DecoderChild().end()
        taken.append((time.perf_counter() - start) * 1000)
    return sorted(taken)[2]


def facts() -> str:
    """What the figures depend on; nothing that names the machine."""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("pillow", "numpy"))
    return (f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
            f"{libraries}.\nPhotos a second by wall time, one run; load average before: {os.getloadavg()[0]:.1f}.\n"
            f"Photos: `{PRODUCT.relative_to(ROOT)}` enlarged, with grain of 3 levels, quality 92. A child starts and "
            f"ends in {start_ms():.0f} ms (median of 5).")


def main() -> None:
    cv2.setNumThreads(1)
    logging.getLogger("tasks.gate").setLevel(logging.ERROR)
    day = datetime.now(UTC).date().isoformat()
    head = ("| photos | n | MB each | in process | " + " | ".join(f"gate, {n} workers" for n in WORKERS)
            + " |\n|---|---:|---:|---:|" + "---:|" * len(WORKERS))
    text = f"# The photo gate, {day}\n\n{facts()}\n\n{head}\n" + "\n".join(map(rates, sets())) + "\n"
    text = text.replace("gate, 1 workers", "gate, 1 worker")
    print(text)
    (ROOT / f"benchmarks/results/{day}-gate.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
