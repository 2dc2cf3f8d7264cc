"""How long weights take to load, file by file as before against read ahead by several threads; cold and warm.

    python benchmarks/loading.py [GIGABYTES]

Generated ControlNets of SDXL's layout (random half-precision weights, no download) stand for real ones. Cold: the
files' pages are dropped from the system's cache before (posix_fadvise), which a virtual disk's own cache may survive.
Each measurement is a fresh process; host memory is the most it held of its own, without what is mapped from files.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from threading import Thread

NETS = 3
CASES = ("hash as before", "hash ahead", "load as before", "load ahead")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("gigabytes", nargs="?", type=float, default=2.4)
    parser.add_argument("--runs", type=int, default=3, help="of each case; the fastest is told")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS, type=Path)
    given = parser.parse_args()
    if given.measure:
        sys.stdout.write(json.dumps(measure(given.measure, given.folder)))
        return
    with tempfile.TemporaryDirectory(prefix="backlot-loading-", dir=given.folder) as scratch:
        folder = Path(scratch)
        generate(folder, given.gigabytes)
        size = sum(path.stat().st_size for path in folder.rglob("*.safetensors")) / 1e9
        sys.stdout.write(f"{NETS} files, {size:.2f} GB, {os.cpu_count()} cores\n")
        for cold in (True, False):
            for case in CASES:
                runs = [one(case, folder, cold) for _ in range(given.runs)]
                best = min(runs, key=lambda run: run["seconds"])
                sys.stdout.write(f"| {case} | {'cold' if cold else 'warm'} | {best['seconds']:.1f} s | "
                                 f"{size / best['seconds']:.2f} GB/s | {best['cpu']:.1f} s | "
                                 f"{best['anonymous'] / 1e9:.2f} GB |\n")
                sys.stdout.flush()


def one(case: str, folder: Path, cold: bool) -> dict[str, float]:
    for path in folder.rglob("*.safetensors"):
        with path.open("rb") as opened:
            if cold:
                os.fsync(opened.fileno())
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            else:
                while opened.read(1 << 24):
                    pass
    ran = subprocess.run([sys.executable, __file__, "--measure", case, "--folder", str(folder)], check=True,
                         capture_output=True, text=True,
                         env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])})
    found: dict[str, float] = json.loads(ran.stdout)
    return found


def generate(folder: Path, gigabytes: float) -> None:
    """ControlNets of SDXL's classes, as wide as the size asks for."""
    import torch
    from diffusers import ControlNetModel
    from safetensors.torch import save_file

    config = {
        "block_out_channels": (320, 640, 1280), "attention_head_dim": (5, 10, 20), "cross_attention_dim": 2048,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "addition_embed_type": "text_time", "addition_time_embed_dim": 256, "use_linear_projection": True,
        "projection_class_embeddings_input_dim": 2816}
    layers = max(1, round(10 * (gigabytes / NETS - 0.8) / 1.7))
    with torch.device("meta"):
        net = ControlNetModel(**config, transformer_layers_per_block=(1, 2, layers))
    for number in range(NETS):
        target = folder / f"net-{number}" / "one"
        target.mkdir(parents=True)
        state = {name: torch.randn(value.shape, dtype=torch.float32).mul_(0.02).half()
                 for name, value in net.state_dict().items()}
        save_file(state, target / "diffusion_pytorch_model.fp16.safetensors", metadata={"format": "pt"})
        net.save_config(target)


def measure(case: str, folder: Path) -> dict[str, float]:
    """One case in this process, imports not counted."""
    from models import loaders
    from models.profiles import ModelSpec, WeightFile
    from models.reading import reading_ahead
    from models.weights import PinnedModel, verify
    from models.zoo import Zoo

    digests: dict[Path, str] = {}
    models = {}
    for number in range(NETS):
        files = tuple(WeightFile(repo=f"net-{number}/one", revision=None, path=path, sha256=None, licence="none",
                                 commercial_use="yes", size_bytes=10**11 if path.endswith("safetensors") else None)
                      for path in ("diffusion_pytorch_model.fp16.safetensors", "config.json"))
        spec = ModelSpec(name=f"net-{number}", kind="controlnet", source="files", files=files)
        for file in files:
            digests[folder / file.key] = remembered(folder / file.key)
        models[f"net-{number}"] = PinnedModel(spec=spec, digest=f"{number}", folder=folder,
                                              sha256={file.key: digests[folder / file.key] for file in files})
    zoo = Zoo(device="cpu", dtype="bfloat16", load=None if case == "load ahead" else loaders.load)
    peak = [0.0]
    Thread(target=watch, args=(peak,), daemon=True).start()
    started, cpu = time.perf_counter(), time.process_time()
    if case == "hash as before":
        for model in models.values():
            verify(model)
    elif case == "hash ahead":
        with reading_ahead(models.values()) as ahead:
            for model in models.values():
                verify(model, ahead.digest)
    else:
        with zoo.lease(models):
            pass
    return {"seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu,
            "anonymous": max(peak[0], own_memory())}


def watch(peak: list[float]) -> None:
    while True:
        peak[0] = max(peak[0], own_memory())
        time.sleep(0.02)


def remembered(path: Path) -> str:
    """The file's digest, computed once in a benchmark and kept beside it."""
    beside = path.with_name(path.name + ".sha256")
    if not beside.exists():
        with path.open("rb") as opened:
            beside.write_text(hashlib.file_digest(opened, "sha256").hexdigest())
        with path.open("rb") as opened:
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return beside.read_text()


def own_memory() -> float:
    """Bytes: the resident set now that is not mapped from files, as /proc tells it."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return float(status["RssAnon"].split()[0]) * 1024


if __name__ == "__main__":
    main()
