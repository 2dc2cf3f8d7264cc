"""What may move a pixel by a level and stands in no key: versions and this machine."""

from __future__ import annotations

import platform
import re
import sys
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path

from models.zoo import Zoo


def environment(zoo: Zoo | None) -> dict[str, str]:
    """What may change pixels beside the key: versions, the machine and, for a pass with models, how `zoo` compiles
    them. Recorded with every execution."""
    return {**_versions(), **machine(), **({} if zoo is None else {"compile": zoo.compiler.state})}


def machine() -> dict[str, str]:
    """processor: its model; threads: torch's, and gpu: models of the GPUs, both only once torch is loaded.

    Threads: each sums its share, so their number decides how a sum is rounded. On the tiny profile 1 thread instead of
    2 moved single pixels of first, second and relight by a level (0.05 % of relight's; two cores, 2026-11-21).
    """
    found = {"processor": _processor()}
    if (torch := sys.modules.get("torch")) is not None:  # not imported for this: most passes do without
        found["threads"] = str(torch.get_num_threads())
        if torch.cuda.is_initialized():
            found["gpu"] = ", ".join(sorted({torch.cuda.get_device_name(number)
                                             for number in range(torch.cuda.device_count())}))
    return found


LIBRARIES = ("backlot", "torch", "torchvision", "diffusers", "transformers", "numpy", "opencv-python-headless",
             "pillow", "spandrel", "controlnet-aux", "onnxruntime", "onnxruntime-gpu")
"""Distributions that compute pixels. Of onnxruntime's two the machine has one."""


@cache
def _versions() -> dict[str, str]:
    """By what is installed: nothing is imported for it."""
    found = {}
    for name in LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


@cache
def _processor() -> str:
    """The model's name where the system tells it, else the architecture."""
    try:
        named = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:  # not Linux
        named = None
    return named[1].strip() if named else platform.processor() or platform.machine()
