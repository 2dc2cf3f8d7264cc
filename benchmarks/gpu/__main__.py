"""The command: which parts to measure, on what, for how long, and where the page goes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from inspect import getdoc
from pathlib import Path

import torch

import benchmarks.gpu as package
from benchmarks.gpu import fp8, job, loading, loop, nets, setting
from benchmarks.gpu.bench import FULL, TINY, Bench, Lines, Record, Scale, environment
from benchmarks.gpu.compiling import HOWS
from benchmarks.gpu.page import page
from benchmarks.gpu.timing import forget, matmul_rate
from models.pictures import Size

ROOT = Path(__file__).resolve().parents[2]
Part = Callable[[Bench], None]
PARTS: dict[str, Part] = {
    "job": job.job, "unet": nets.unet, "nets": nets.others, "attention": nets.attention, "upscaler": nets.upscaler,
    "loop": loop.loop, "job-compiled": job.job_compiled, "job-setting": setting.job_setting,
    "unet-compiled": nets.unet_compiled, "fp8": fp8.fp8, "load": loading.load}
"""Most telling first: what comes last is left out first."""
TOLD = {name: getdoc(part) or "" for name, part in PARTS.items()}


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=package.__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help="these parts, in the usual order")
    parser.add_argument("--list", action="store_true", help="say what the parts are")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--weights", choices=("auto", "full", "tiny"), default="auto", help="auto: full on a GPU")
    parser.add_argument("--budget", type=float, metavar="SECONDS", help="start no measurement after so many seconds")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the page; its lines go beside it as .jsonl")
    parser.add_argument("--pages", nargs="+", type=Path, metavar="JSONL", help="write one page of these lines only")
    parser.add_argument("--mode", help="torch.compile's mode; default max-autotune-no-cudagraphs")
    parser.add_argument("--how", choices=HOWS, help="what is compiled by itself, in job-compiled and unet-compiled")
    parser.add_argument("--batches", nargs="+", type=int, metavar="ROWS", help="rows of unet and unet-compiled")
    parser.add_argument("--pictures", nargs="+", type=int, metavar="N", help="pictures at a time of job and loop")
    parser.add_argument("--steps", type=int, help="of each pass; default 10, tiny 2")
    parser.add_argument("--side", nargs=2, type=int, metavar=("WIDTH", "HEIGHT"), help="of the pictures")
    parser.add_argument("--load-gb", type=float, help="size of the weights that `load` writes and reads")
    return parser.parse_args(given)


def scale_of(asked: argparse.Namespace, device: str) -> Scale:
    full = asked.weights == "full" or (asked.weights == "auto" and device == "cuda")
    changes = {"rows": asked.batches and tuple(asked.batches), "pictures": asked.pictures and tuple(asked.pictures),
               "steps": asked.steps, "mode": asked.mode, "how": asked.how,
               "bytes": asked.load_gb and int(asked.load_gb * 1e9),
               "size": asked.side and Size(width=asked.side[0], height=asked.side[1])}
    return replace(FULL if full else TINY, **{name: value for name, value in changes.items() if value})


def measure(parts: dict[str, Part], device: str, scale: Scale, out: Path, budget: float | None) -> None:
    lines = Lines(out.with_suffix(".jsonl"))

    def keep(record: Record) -> None:
        lines.add(record)
        out.write_text(page(lines.read(), TOLD), encoding="utf-8")

    rate = matmul_rate(device, scale.matmul)
    here = environment(device, scale) | {"rate": rate}
    before = lines.read()
    page([*before, {"environment": here}], TOLD)  # refuses lines of another machine before anything is measured
    keep({"environment": here})
    bench = Bench(device=device, scale=scale, keep=keep, rate=rate, budget=budget)
    for name, part in parts.items():
        bench.run(name, part)
        if not bench.broken:
            forget(device)


def main(given: Sequence[str] | None = None) -> None:
    asked = arguments(given)
    out = asked.out or ROOT / f"benchmarks/results/{datetime.now(UTC):%Y-%m-%d}-gpu.md"
    if asked.list:
        print("\n".join(f"{name:14} {told}" for name, told in TOLD.items()))
    elif asked.pages:
        out.write_text(page([one for path in asked.pages for one in Lines(path).read()], TOLD), encoding="utf-8")
        print(out)
    else:
        device = asked.device if asked.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
        parts = {name: part for name, part in PARTS.items() if not asked.only or name in asked.only}
        measure(parts, device, scale_of(asked, device), out, asked.budget)
        print(out, file=sys.stderr)


if __name__ == "__main__":
    main()
