"""The doctor's questions to this machine: Python, versions that do not go together, GPU, disk."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from storage.settings import Settings
from tasks.diagnosis import Line, failed, ok, warning

LEAST_FREE = 0.1
"""Of a disk: spec/reliability.md 6.4."""

OTHERS = ("aiobotocore", "prefect", "torchvision")
"""Packages whose own requirements break something where pip was talked out of them."""

REASONS = {
    "prefect": "tasks, states and settings are tested with this version; 3.9.1 could not be installed (it asks for a "
               "certifi that does not exist)",
    "fastapi": "prefect 3.8.8's server does not start with newer ones (seen with 0.165.0; 0.139.2 works)",
    "diffusers": "the sdxl and relight passes are proven against this version's arithmetic",
    "torch": "torch, torchvision and the reference pictures belong together",
    "torchvision": "its compiled operators fit one torch only",
    "botocore": "aiobotocore replaces parts of botocore's inside, so that S3 fails with any other",
}
"""Why a version matters, where we know."""


def python() -> Sequence[Line]:
    said = f"Python {platform.python_version()} on {platform.system()} {platform.release()}, {platform.machine()}"
    if sys.platform != "linux":
        return [warning("python", said, "Only Linux is tested; the limits of the photo gate need it")]
    return [ok("python", said)]


def versions(path: Sequence[str] | None = None) -> Sequence[Line]:
    """Do the installed packages go together? path: where to look for them, by default where Python does."""
    found: dict[str, metadata.Distribution] = {}  # the first on the path counts, as it does for an import
    for one in metadata.distributions(path=list(sys.path if path is None else path)):
        found.setdefault(canonicalize_name(one.name), one)
    lines = [line for name in ("backlot", *OTHERS) if name in found for line in _unmet(found[name], found)]
    lines += _other_builds(found)
    if "backlot" not in found:
        lines.append(warning("versions", "Backlot runs from its source and is not installed, so what it needs is not "
                             "known", "Install it: pip install -c requirements.txt ."))
    if lines:
        return lines
    main = ", ".join(f"{name} {found[name].version}" for name in ("backlot", "torch", "diffusers", "prefect")
                     if name in found)
    return [ok("versions", main)]


def _unmet(of: metadata.Distribution, found: Mapping[str, metadata.Distribution]) -> list[Line]:
    lines = []
    for needed in map(Requirement, of.requires or ()):
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        name = canonicalize_name(needed.name)
        there = found[name].version if name in found else None
        if there is None or not needed.specifier.contains(there, prereleases=True):
            why = f"; {REASONS[name]}" if name in REASONS else ""
            said = f"{name} {there or 'is missing'}, and {of.name} needs {needed.specifier or 'it'}{why}"
            lines.append(failed("versions", said, f'pip install "{name}{needed.specifier}"'))
    return lines


def _other_builds(found: Mapping[str, metadata.Distribution]) -> list[Line]:
    """torch from one index and torchvision from another: torchvision's operators are then not found."""
    if not {"torch", "torchvision"} <= found.keys():
        return []
    torch, vision = (Version(found[name].version) for name in ("torch", "torchvision"))
    if torch.local == vision.local:
        return []
    return [failed("versions", f"torch {torch} and torchvision {vision} are builds for different devices",
                   "Install both from one index: the builds for the CPU alone, or those for CUDA")]


_ASK_TORCH = """
import json, warnings
said = []
warnings.showwarning = lambda message, *rest: said.append(str(message))
import torch

def fault(number):
    try:
        torch.ones(2, device=number).sum().item()
    except Exception as error:
        return str(error)

def device(number):
    facts = torch.cuda.get_device_properties(number)
    wrong = fault(number)
    return {"name": facts.name, "bytes": facts.total_memory, "fault": wrong,
            "free": 0 if wrong else torch.cuda.mem_get_info(number)[0]}

devices = [device(number) for number in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
print(json.dumps({"torch": torch.__version__, "cuda": torch.version.cuda, "said": " ".join(said), "devices": devices}))
"""
"""Says what torch sees, and adds two numbers on each device: a build that does not fit fails only then."""

TORCH_SECONDS = 55.0


def gpu(device: str) -> Sequence[Line]:
    """What torch sees, asked in a child process: torch takes seconds to load, and a broken driver can end it."""
    remedy = "Install torch again, as the lock names it"
    try:
        done = subprocess.run([sys.executable, "-c", _ASK_TORCH], capture_output=True, text=True, check=False,
                              timeout=TORCH_SECONDS)
    except subprocess.TimeoutExpired:
        return [failed("gpu", f"torch did not answer within {TORCH_SECONDS:g} s", f"Look at the driver. {remedy}")]
    lines = done.stdout.splitlines()
    if done.returncode != 0 or not lines:
        told = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
        return [failed("gpu", f"torch cannot be loaded ({told[:300]})", remedy)]
    return gpu_lines(json.loads(lines[-1]), driver(), device)


def driver() -> str | None:
    """The version of NVIDIA's driver, None where none is installed."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    asked = subprocess.run([program, "--query-gpu=driver_version", "--format=csv,noheader"], capture_output=True,
                           text=True, timeout=10, check=False)
    return asked.stdout.split("\n")[0].strip() or None if asked.returncode == 0 else None


def gpu_lines(facts: Mapping[str, Any], driver: str | None, device: str) -> list[Line]:
    """facts: what the child prints. device: the setting."""
    build = f"torch {facts['torch']} for " + (f"CUDA {facts['cuda']}" if facts["cuda"] else "the CPU alone")
    if not facts["devices"]:
        return [_no_gpu(_one_line(facts["said"]), build, driver, device)]
    lines = []
    for number, one in enumerate(facts["devices"]):
        said = f"cuda:{number} {one['name']}, {one['bytes'] / 2**30:.0f} GiB"
        if one["fault"]:
            lines.append(failed("gpu", f"{said} does not compute: {_one_line(one['fault'])}",
                                f"Install a torch whose CUDA build fits it and its driver {driver}; this is {build}"))
        else:
            lines.append(ok("gpu", f"{said} ({one['free'] / 2**30:.0f} free), driver {driver}, {build}"))
    return lines


def _no_gpu(said: str, build: str, driver: str | None, device: str) -> Line:
    if driver is not None and "the CPU alone" in build:
        return failed("gpu", f"there is an NVIDIA driver {driver}, and this is {build}", "Install a torch for CUDA")
    if driver is not None:
        return failed("gpu", f"there is an NVIDIA driver {driver}, and {build} cannot use it. {said}".rstrip(),
                      "Compare the driver with what this CUDA needs, and look at CUDA_VISIBLE_DEVICES")
    if device.startswith("cuda"):
        return failed("gpu", f"BACKLOT_DEVICE says {device}, and no GPU is found here ({build})",
                      "Set BACKLOT_DEVICE to auto or cpu, or install the GPU's driver")
    return ok("gpu", f"none, the CPU computes: fine for the tiny profile, slow for real weights ({build})")


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]


def disk(settings: Settings) -> Sequence[Line]:
    """Free space of each disk that something of ours lies on."""
    stores = map(folder_of, (settings.outputs_url, settings.artifacts_url))
    folders = [*(one for one in stores if one is not None), settings.weights_dir, settings.home]
    disks = {os.stat(there).st_dev: there for there in map(nearest, folders)}
    return [_free(there) for there in disks.values() if shutil.disk_usage(there).total]


def folder_of(url: str) -> Path | None:
    """The local folder that a store's url names, None for any other place."""
    path = url.removeprefix("file://")
    return None if "://" in path else Path(path)


def nearest(folder: Path) -> Path:
    """The folder itself, or the nearest above it that is there."""
    return next(there for there in (folder.absolute(), *folder.absolute().parents) if there.exists())


def _free(folder: Path) -> Line:
    usage = shutil.disk_usage(folder)
    said = f"{usage.free / 1e9:.1f} of {usage.total / 1e9:.1f} GB are free at {folder}"
    if usage.free < LEAST_FREE * usage.total:
        return warning("disk", f"{said}, less than a tenth",
                       "Make room: a run that finds none fails, and goes on where it stopped once there is some")
    return ok("disk", said)
