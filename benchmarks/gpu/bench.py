"""One run of measurements: what it measures on, what it may spend, and the lines it leaves behind."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import monotonic
from typing import Any

import torch

from benchmarks.gpu.timing import Figures
from models.pictures import Size

Record = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How large everything is. rows: UNet batches. pictures: made at a time. bytes: of weights to load.
    mode: torch.compile's. how: what is compiled by itself (compiling.HOWS)."""

    weights: str
    size: Size
    steps: int
    rows: tuple[int, ...]
    pictures: tuple[int, ...]
    runs: int
    matmul: int
    bytes: int
    mode: str = "max-autotune-no-cudagraphs"
    how: str = "regions"

    @property
    def full(self) -> bool:
        return self.weights == "full"


FULL = Scale(weights="full", size=Size(height=768, width=1024), steps=10, rows=(1, 2, 3, 8, 24), pictures=(1, 8),
             runs=10, matmul=8192, bytes=4_000_000_000)
TINY = Scale(weights="tiny", size=Size(height=64, width=64), steps=2, rows=(1, 2, 3), pictures=(1, 2),
             runs=2, matmul=512, bytes=40_000_000)


@dataclass(kw_only=True)
class Bench:
    """Runs cases of parts and keeps each as a record the moment it is known.

    budget: seconds after which no case starts; None is no limit. keep(record) is called for each.
    """

    device: str
    scale: Scale
    keep: Callable[[Record], None]
    rate: float = float("nan")
    budget: float | None = None
    clock: Callable[[], float] = monotonic
    part: str = ""
    broken: bool = False
    """The GPU answers no more in this process: after an illegal access everything fails."""
    _begun: float = field(init=False)

    def __post_init__(self) -> None:
        self._begun = self.clock()

    @property
    def dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.device == "cuda" else torch.float32

    @property
    def spent(self) -> bool:
        return self.budget is not None and self.clock() - self._begun > self.budget

    def case(self, name: str, measure: Callable[[], Figures]) -> Figures | None:
        """Measure one thing. What fails is one line and None, and the run goes on; so is what the budget leaves out."""
        if self.broken or self.spent:
            why = "the GPU answers no more in this process" if self.broken else f"the budget of {self.budget:g} s"
            self._keep(name, skipped=why)
            return None
        begin = self.clock()
        try:
            with torch.inference_mode():
                figures = measure()
        except Exception as error:  # anything at all: one measurement must not cost the others
            self._keep(name, failed=one_line(error))
            self._look()
            return None
        self._keep(name, figures=figures, took_s=self.clock() - begin)
        return figures

    def run(self, part: str, measure: Callable[[Bench], None]) -> None:
        """A whole part; what fails outside of its cases, while it is built, is a line too."""
        self.part = part
        if self.broken or self.spent:
            self.case("all of it", dict)
            return
        try:
            with torch.inference_mode():
                measure(self)
        except Exception as error:
            self._keep("all that was left of it", failed=one_line(error))
            self._look()

    def _look(self) -> None:
        if self.device == "cuda":
            try:
                torch.cuda.synchronize()
            except RuntimeError:
                self.broken = True

    def _keep(self, name: str, **what: Any) -> None:
        record = {"part": self.part, "case": name, **what}
        shown = what.get("failed") or what.get("skipped") or ", ".join(
            f"{key} {value:.4g}" for key, value in what["figures"].items() if isinstance(value, int | float))
        print(f"{datetime.now(UTC):%H:%M:%S} {self.part}: {name}: {shown}", file=sys.stderr, flush=True)
        self.keep(record)


def one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def environment(device: str, scale: Scale) -> Record:
    """Where a run's figures are from."""
    found: Record = {
        "device": device, "at": f"{datetime.now(UTC):%Y-%m-%d %H:%M}", "python": platform.python_version(),
        "cores": _cores(), "scale": asdict(scale) | {"size": [scale.size.width, scale.size.height]},
        **{name: _version(name) for name in ("torch", "diffusers", "transformers", "triton", "torchao")}}
    if device == "cuda":
        found |= {"gpu": torch.cuda.get_device_name(), "driver": _driver(), "cuda": torch.version.cuda,
                  "cudnn": torch.backends.cudnn.version(),
                  "gib": torch.cuda.get_device_properties(0).total_memory / 2**30}
    return found


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _driver() -> str | None:
    try:
        asked = subprocess.run(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
                               capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return asked.stdout.strip().partition("\n")[0]


class Lines:
    """The records of a page's runs, in a file beside it: added one by one, so that a killed run keeps its own."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, record: Record) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def read(self) -> list[Record]:
        """All whole lines; the last may be cut short by a kill."""
        if not self.path.exists():
            return []
        found = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                found.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return found
