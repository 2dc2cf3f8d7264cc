"""Which lossless encoder the intermediates are stored with: time to write, time to read, bytes.

    python benchmarks/encoders.py          prints the tables and writes benchmarks/results/DATE-encoders.md

Each encoder must return the very pixels it was given, transparent ones included, or it is reported as lossy.

Reading of 2026-11-21: PNG by OpenCV at level 1 with run-length strategy and the "sub" filter takes half the time of
level 1 alone and writes fewer bytes. WebP is as good or better on small pictures, but a third slower to read and nearly
twice as slow to write at 4096 x 3072, stops at 16,383 px a side, and cannot take PNG text without encoding again.
"""

from __future__ import annotations

import io
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from models.pictures import Picture, decode_png, encode_png

ROOT = Path(__file__).resolve().parent.parent
PRODUCT, MASK = ROOT / "examples/products/hard-wood.jpg", ROOT / "examples/truth/hard-wood-mask.png"
RUNS_SMALL, RUNS_LARGE = 21, 5
LARGE = 4_000_000  # pixels


@dataclass(frozen=True, kw_only=True)
class Encoder:
    name: str
    encode: Callable[[Picture], bytes]
    decode: Callable[[bytes], Picture]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Medians over the runs, in milliseconds of wall time on one thread; `size` in bytes."""

    encode_ms: float
    decode_ms: float
    size: int
    lossless: bool


def opencv_png(*settings: int) -> Callable[[Picture], bytes]:
    """A PNG encoder by OpenCV with these imwrite flags, in OpenCV's (flag, value, flag, value) form."""

    def encode(picture: Picture) -> bytes:
        code = cv2.COLOR_RGBA2BGRA if picture.shape[2] == 4 else cv2.COLOR_RGB2BGR
        return bytes(cv2.imencode(".png", cv2.cvtColor(picture, code), list(settings))[1])

    return encode


def pillow(form: str, **options: object) -> Callable[[Picture], bytes]:
    def encode(picture: Picture) -> bytes:
        out = io.BytesIO()
        Image.fromarray(picture).save(out, form, **options)
        return out.getvalue()

    return encode


def pillow_decode(data: bytes) -> Picture:
    return np.asarray(Image.open(io.BytesIO(data)))


LEVEL, STRATEGY, FILTER = cv2.IMWRITE_PNG_COMPRESSION, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_FILTER
RLE, FILTERED, HUFFMAN = (cv2.IMWRITE_PNG_STRATEGY_RLE, cv2.IMWRITE_PNG_STRATEGY_FILTERED,
                          cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY)
SUB, UP, FAST = cv2.IMWRITE_PNG_FILTER_SUB, cv2.IMWRITE_PNG_FILTER_UP, cv2.IMWRITE_PNG_FAST_FILTERS

# In OpenCV giving the level alone also resets the strategy to zlib's default, so "nothing given" is a row of its own.
ENCODERS = (
    Encoder(name="`encode_png` as shipped", encode=encode_png, decode=decode_png),
    *(Encoder(name=name, encode=opencv_png(*settings), decode=decode_png) for name, settings in (
        ("OpenCV PNG, nothing given", ()),
        ("OpenCV PNG 0 (stored)", (LEVEL, 0)),
        ("OpenCV PNG 1", (LEVEL, 1)),
        ("OpenCV PNG 3", (LEVEL, 3)),
        ("OpenCV PNG 1, RLE", (LEVEL, 1, STRATEGY, RLE)),
        ("OpenCV PNG 1, RLE, sub", (LEVEL, 1, STRATEGY, RLE, FILTER, SUB)),
        ("OpenCV PNG 1, RLE, up", (LEVEL, 1, STRATEGY, RLE, FILTER, UP)),
        ("OpenCV PNG 1, RLE, fast filters", (LEVEL, 1, STRATEGY, RLE, FILTER, FAST)),
        ("OpenCV PNG 1, filtered, sub", (LEVEL, 1, STRATEGY, FILTERED, FILTER, SUB)),
        ("OpenCV PNG 1, Huffman only, sub", (LEVEL, 1, STRATEGY, HUFFMAN, FILTER, SUB)),
    )),
    *(Encoder(name=f"Pillow PNG {level}", encode=pillow("png", compress_level=level), decode=pillow_decode)
      for level in (1, 3, 6)),
    Encoder(name="Pillow WebP lossless, method 0",
            encode=pillow("webp", lossless=True, exact=True, method=0, quality=0), decode=pillow_decode),
)


def pictures() -> Iterator[tuple[str, Picture]]:
    """The kinds a job stores: a scene, a placed product, a control map, and the upscaled final."""
    photo = Image.open(PRODUCT).convert("RGB").resize((1024, 768), Image.Resampling.LANCZOS)
    mask = Image.open(MASK).convert("L").resize((1024, 768), Image.Resampling.LANCZOS)
    # Shrinking averages a photo's grain away, and generated scenes have some: 2 levels, as in a photo at ISO 400.
    grain = np.random.default_rng(0).normal(0.0, 2.0, (768, 1024, 3))
    scene = np.clip(np.rint(np.asarray(photo) + grain), 0, 255).astype(np.uint8)
    placed = np.dstack([scene * (np.asarray(mask)[:, :, None] > 0), np.asarray(mask)]).astype(np.uint8)
    lines = cv2.cvtColor(cv2.Canny(scene, 100, 200), cv2.COLOR_GRAY2RGB)
    yield "scene, 1024 x 768, RGB", scene
    yield "placed product, 1024 x 768, RGBA", placed
    yield "line map, 1024 x 768, RGB", np.asarray(lines, dtype=np.uint8)
    final = cv2.resize(scene, (4096, 3072), interpolation=cv2.INTER_LANCZOS4)
    yield "final, 4096 x 3072, RGB", np.asarray(final, dtype=np.uint8)


def median_ms(work: Callable[[], object], runs: int) -> float:
    taken = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        taken.append((time.perf_counter() - start) * 1000)
    return statistics.median(taken)


def measure(encoder: Encoder, picture: Picture) -> Measured:
    runs = RUNS_LARGE if picture.shape[0] * picture.shape[1] > LARGE else RUNS_SMALL
    data = encoder.encode(picture)
    return Measured(encode_ms=median_ms(lambda: encoder.encode(picture), runs),
                    decode_ms=median_ms(lambda: encoder.decode(data), runs), size=len(data),
                    lossless=np.array_equal(encoder.decode(data), picture))


def table(title: str, rows: list[tuple[str, Measured]]) -> str:
    head = f"## {title}\n\n| encoder | encode ms | decode ms | kB | |\n|---|---:|---:|---:|---|\n"
    return head + "".join(
        f"| {name} | {row.encode_ms:.1f} | {row.decode_ms:.1f} | {row.size / 1000:,.0f} |"
        f" {'' if row.lossless else '**lossy**'} |\n" for name, row in rows)


def facts() -> str:
    """What the figures depend on; nothing that names the machine."""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("opencv-python-headless", "pillow", "numpy"))
    return (f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores (one thread used), "
            f"Python {platform.python_version()}, {libraries}.\n"
            f"Wall time, medians of {RUNS_SMALL} runs ({RUNS_LARGE} for the final); load average before: "
            f"{os.getloadavg()[0]:.1f}.\n"
            f"Pictures: `{PRODUCT.relative_to(ROOT)}` with grain of 2 levels; the final is its 4x Lanczos enlargement.")


def main() -> None:
    cv2.setNumThreads(1)
    day = datetime.now(UTC).date().isoformat()
    parts = [f"# Lossless encoders for stored pictures, {day}", facts()]
    for title, picture in pictures():
        parts.append(table(title, [(encoder.name, measure(encoder, picture)) for encoder in ENCODERS]))
    text = "\n\n".join(part.rstrip() for part in parts) + "\n"
    print(text)
    (ROOT / f"benchmarks/results/{day}-encoders.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
