"""The models now in memory: loaded once, shared by every pass that names the same digest, evicted when room is short.

No torch until the first lease of a model, so a job that reuses everything starts in no time.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any, Literal

from models.errors import PassError
from models.weights import PinnedModel

GPU_SHARE = 0.65
"""Of the GPU's memory for weights, the rest for activations: between what spec/performance.md 4 (row 1) finds
comfortable on a 24 GB card (12.7 GB, 0.53) and what it does not (17.7 GB, 0.74)."""
CPU_BYTES = 16 * 1024**3
"""Weights kept in memory without a GPU: the tiny profile thousands of times over, or SDXL alone in float32."""

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Load = Callable[..., Any]
"""load(model, device=, dtype=) -> the loaded object; models.loaders.load unless a test brings its own."""


@dataclass(kw_only=True)
class Resident:
    """One loaded model. leases: how many passes hold it now; only at 0 may it go."""

    model: PinnedModel
    loaded: Any
    size_bytes: int
    leases: int = 0


class Zoo:
    """Models in memory on one device, at most `capacity_bytes` of weights, the least recently used leaving first.

    device: "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:N". dtype: "auto" is bfloat16 on a GPU, else
    float32. capacity_bytes: None is GPU_SHARE of the GPU's memory, or CPU_BYTES. What is leased at one time may exceed
    it: a leased model never leaves.
    """

    def __init__(self, *, device: str = "auto", dtype: Dtype = "auto", capacity_bytes: int | None = None,
                 load: Load | None = None) -> None:
        self._device = device
        self._dtype = dtype
        self._capacity: float = math.inf if capacity_bytes is None else capacity_bytes
        self._settled = False
        self._load = load
        self._residents: OrderedDict[str, Resident] = OrderedDict()
        # One lock for loading and for the books. Building library models is not thread-safe: accelerate and
        # transformers patch torch's functions and default dtype while they build, for every thread. A second loader
        # would at best get half-initialised modules. Waiting also means that no model is loaded twice.
        self._lock = Lock()

    @property
    def device(self) -> str:
        """Where leased models are: "cpu", "cuda" or "cuda:N"; "auto" until the first lease has looked."""
        return self._device

    @property
    def dtype(self) -> str:
        """What denoisers compute in: "float32", "bfloat16" or "float16"; "auto" until the first lease has looked."""
        return self._dtype

    @property
    def loaded(self) -> tuple[Resident, ...]:
        """What is in memory now, least recently used first."""
        with self._lock:
            return tuple(self._residents.values())

    @contextmanager
    def lease(self, models: Mapping[str, PinnedModel]) -> Generator[Mapping[str, Any]]:
        """The loaded objects by weight role, kept in memory until the block ends.

        Raises WeightsError where files are not as pinned. On a GPU it also starts a new peak for `peak_memory`.
        """
        with ExitStack() as held:
            held.callback(self._shrink)  # runs last, when the whole lease is given back and its order counts again
            loaded = {}
            for role, model in models.items():
                loaded[role] = self._acquire(model)
                held.callback(self._release, model)
            if self._on_gpu():
                _torch().cuda.reset_peak_memory_stats(self._device)
            yield loaded

    def peak_memory(self) -> int | None:
        """Most bytes allocated on the GPU since the latest lease began; None without a GPU."""
        return int(_torch().cuda.max_memory_allocated(self._device)) if self._on_gpu() else None

    def free(self) -> None:
        """Drop every model that nobody leases, and give the GPU its cached blocks back: after an out of memory."""
        with self._lock:
            self._residents = OrderedDict((key, kept) for key, kept in self._residents.items() if kept.leases)
        if self._on_gpu():
            _torch().cuda.empty_cache()

    def _acquire(self, model: PinnedModel) -> Any:
        with self._lock:
            resident = self._residents.get(model.digest)
            if resident is None:
                self._settle()
                self._make_room(model.size_bytes)
                resident = self._residents[model.digest] = self._bring_in(model)
            resident.leases += 1
            self._residents.move_to_end(model.digest)
            self._make_room(0)
            return resident.loaded

    def _release(self, model: PinnedModel) -> None:
        with self._lock:
            self._residents[model.digest].leases -= 1

    def _shrink(self) -> None:
        with self._lock:
            self._make_room(0)

    def _bring_in(self, model: PinnedModel) -> Resident:
        from models import loaders

        load = self._load or loaders.load
        loaded = load(model, device=self._device, dtype=getattr(_torch(), self._dtype))
        return Resident(model=model, loaded=loaded, size_bytes=loaders.bytes_of(loaded))

    def _make_room(self, coming: int) -> None:
        """Drop the least recently used models without a lease until `coming` more bytes fit, or none is left to drop.

        `coming` is the size of a model's files: what it will take in half precision, give or take its VAE.
        """
        for digest, resident in list(self._residents.items()):
            if sum(kept.size_bytes for kept in self._residents.values()) + coming <= self._capacity:
                return
            if resident.leases == 0:
                del self._residents[digest]

    def _settle(self) -> None:
        """Turn "auto" into what this machine has. The first use of torch."""
        if self._settled:
            return
        cuda = _torch().cuda
        if self._device == "auto":
            self._device = "cuda" if cuda.is_available() else "cpu"
        gpu = self._device.startswith("cuda")
        if gpu and not cuda.is_available():
            raise PassError("torch finds no GPU here", field="device", value=self._device,
                            remedy='Set the device to "cpu" or "auto", or install a torch built for this GPU')
        if self._dtype == "auto":
            self._dtype = "bfloat16" if gpu else "float32"
        if self._capacity == math.inf:
            self._capacity = GPU_SHARE * cuda.get_device_properties(self._device).total_memory if gpu else CPU_BYTES
        self._settled = True

    def _on_gpu(self) -> bool:
        return self._settled and self._device.startswith("cuda")


def _torch() -> Any:
    import torch

    return torch
