"""The models now in memory: loaded once, shared by every pass that names the same digest, evicted when room is short.

No torch until the first lease of a model, so a job that reuses everything starts in no time.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from threading import Condition, Lock
from typing import Any, Literal

from models.compiled import Compiler
from models.errors import PassError
from models.reading import Ahead, reading_ahead
from models.sparing import Spare, sparing
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
    """One loaded model. device: where its weights lie. leases: how many passes hold it now; only at 0 may it go."""

    model: PinnedModel
    loaded: Any
    size_bytes: int
    device: str
    leases: int = 0


class Zoo:
    """Models in memory on one device, at most `capacity_bytes` of weights, the least recently used leaving first.

    device: "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:N". dtype: "auto" is bfloat16 on a GPU, else
    float32. capacity_bytes: None is GPU_SHARE of the GPU's memory, or CPU_BYTES. What is leased at one time may exceed
    it: a leased model never leaves. compiler: what becomes of a model before its first use; None: nothing.
    """

    def __init__(self, *, device: str = "auto", dtype: Dtype = "auto", capacity_bytes: int | None = None,
                 load: Load | None = None, compiler: Compiler | None = None) -> None:
        self._device = device
        self.compiler = compiler or Compiler("off")
        self._dtype = dtype
        self._capacity: float = math.inf if capacity_bytes is None else capacity_bytes
        self._settled = False
        self._load = load
        self._residents: OrderedDict[str, Resident] = OrderedDict()
        self._places: dict[str, str] = {}  # by digest; outlives the resident, which may leave before anyone asks
        # One lock for loading and for the books. Building library models is not thread-safe: accelerate and
        # transformers patch torch's functions and default dtype while they build, for every thread. A second loader
        # would at best get half-initialised modules. Waiting also means that no model is loaded twice. Only reading
        # and hashing go on beside it (models.reading).
        self._lock = Lock()
        self._door = Condition()
        self._inside = 0
        self._alone = False

    @property
    def device(self) -> str:
        """Where leased models are: "cpu", "cuda" or "cuda:N"; "auto" until the first lease has looked."""
        return self._device

    @property
    def dtype(self) -> str:
        """What denoisers compute in: "float32", "bfloat16" or "float16"; "auto" until the first lease has looked."""
        return self._dtype

    def dtype_of(self, models: Iterable[PinnedModel]) -> str:
        """What these compute in: the zoo's, but float32 where all are kept in it (models.loaders.IN_FLOAT32)."""
        from models.loaders import IN_FLOAT32

        return "float32" if {model.spec.kind for model in models} <= IN_FLOAT32 else self._dtype

    def device_of(self, models: Iterable[PinnedModel]) -> str:
        """Where these compute, as they were last loaded: on the zoo's device, but on the CPU where a network of
        onnxruntime found no other."""
        places = {self._places.get(model.digest, self._device) for model in models}
        return places.pop() if len(places) == 1 else self._device

    @property
    def loaded(self) -> tuple[Resident, ...]:
        """What is in memory now, least recently used first."""
        with self._lock:
            return tuple(self._residents.values())

    @contextmanager
    def lease(self, models: Mapping[str, PinnedModel], spare: Spare | None = None) -> Generator[Mapping[str, Any]]:
        """The loaded objects by weight role, kept in memory until the block ends.

        spare: compute in less memory. What that does to the models others would notice, so such a lease waits until no
        other is held, and others wait for it: never take a second one within it. Raises WeightsError where files are
        not as pinned. On a GPU it also starts a new peak for `peak_memory`.
        """
        spare = spare or Spare()
        with ExitStack() as held:
            held.enter_context(self._admitted(alone=bool(spare)))
            held.callback(self._shrink)  # runs when the whole lease is given back and its order counts again
            loaded = self._acquire_all(models, held, offload=spare.offload)
            if self._on_gpu():
                _torch().cuda.reset_peak_memory_stats(self._device)
            if loaded:
                held.enter_context(sparing(loaded.values(), spare, self._device) if spare else self.compiler.stepping())
            yield loaded

    @property
    def offloads(self) -> bool:
        """Whether there is a device that weights could leave."""
        return self._on_gpu()

    def peak_memory(self) -> int | None:
        """Most bytes allocated on the GPU since the latest lease began; None without a GPU."""
        return int(_torch().cuda.max_memory_allocated(self._device)) if self._on_gpu() else None

    def free(self, keep: Iterable[PinnedModel] = ()) -> None:
        """Drop every model that nobody leases, but those to `keep`; and `trim`."""
        kept = {model.digest for model in keep}
        with self._lock:
            self._residents = OrderedDict((digest, resident) for digest, resident in self._residents.items()
                                          if resident.leases or digest in kept)
        self.trim()

    def trim(self) -> None:
        """Give the GPU back the blocks that torch keeps for later: after an out of memory they are in pieces."""
        if self._on_gpu():
            _torch().cuda.empty_cache()

    @contextmanager
    def _admitted(self, *, alone: bool) -> Generator[None]:
        """Inside beside others, or `alone`."""
        with self._door:
            self._door.wait_for(lambda: not (self._alone or (alone and self._inside)))
            self._inside += 1
            self._alone = alone
        try:
            yield
        finally:
            with self._door:
                self._inside -= 1
                self._alone = False
                self._door.notify_all()

    def _acquire_all(self, models: Mapping[str, PinnedModel], held: ExitStack, *, offload: bool) -> dict[str, Any]:
        """The loaded objects; `held` gives them back. The files of all are being read while the first is built."""
        loaded = {}
        coming = [model for model in models.values() if model.digest not in self._residents and self._load is None]
        with reading_ahead(coming) as ahead:
            for role, model in models.items():
                loaded[role] = self._acquire(model, ahead, offload=offload)
                held.callback(self._release, model)
        return loaded

    def _acquire(self, model: PinnedModel, ahead: Ahead, *, offload: bool) -> Any:
        with self._lock:
            self._settle()
            device = "cpu" if offload else self._device
            resident = self._residents.get(model.digest)
            if resident is None:
                self._make_room(model.size_bytes, device)
                resident = self._residents[model.digest] = self._bring_in(model, ahead, device)
            elif resident.device != device:
                self._move(resident, device)
            resident.leases += 1
            self._residents.move_to_end(model.digest)
            self._make_room(0, device)
            return resident.loaded

    def _release(self, model: PinnedModel) -> None:
        with self._lock:
            self._residents[model.digest].leases -= 1

    def _shrink(self) -> None:
        with self._lock:
            for device in {resident.device for resident in self._residents.values()}:
                self._make_room(0, device)

    def _bring_in(self, model: PinnedModel, ahead: Ahead, device: str) -> Resident:
        from models import loaders

        dtype = getattr(_torch(), self._dtype)
        if self._load is not None:
            loaded = self._load(model, device=device, dtype=dtype)
        else:
            loaded = loaders.load(model, device=device, dtype=dtype, digest_of=ahead.digest)
        self._places[model.digest] = loaders.place_of(loaded, self._device)
        self.compiler.prepare(loaded, self._device)
        return Resident(model=model, loaded=loaded, size_bytes=loaders.bytes_of(loaded), device=device)

    def _move(self, resident: Resident, device: str) -> None:
        """Nobody leases it: those who offload are alone, and those after them find it where they left it."""
        from models import loaders

        self._residents.pop(resident.model.digest)  # out of memory midway, it would lie in two places
        self._make_room(resident.size_bytes, device)
        loaders.move(resident.loaded, device)
        resident.device = device
        self._residents[resident.model.digest] = resident

    def _make_room(self, coming: int, device: str) -> None:
        """Drop the least recently used models without a lease that lie on `device` until `coming` more bytes fit, or
        none is left to drop.

        `coming` is the size of a model's files: what it will take in half precision, give or take its VAE.
        """
        capacity = self._capacity if device == self._device else CPU_BYTES
        there = {digest: kept for digest, kept in self._residents.items() if kept.device == device}
        taken = sum(kept.size_bytes for kept in there.values()) + coming
        for digest, resident in there.items():
            if taken <= capacity:
                return
            if resident.leases == 0:
                del self._residents[digest]
                taken -= resident.size_bytes

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
