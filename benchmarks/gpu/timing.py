"""What is measured of a call: seconds on three clocks, memory, arithmetic."""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import nullcontext
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

Call = Callable[[], object]
Figures = dict[str, Any]
"""Plain JSON. Times in ms unless the name ends in _s."""

LEAST_RUNS, PATIENCE = 2, 12.0
"""A slow call is timed at least twice, but no third time once PATIENCE seconds are spent on it."""


def timed(call: Call, device: str, *, runs: int = 10) -> Figures:
    """A call's times after a first one, which is reported apart, and a warm-up.

    wall_ms: from the call until the GPU is done, the median; least_ms and most_ms with it. host_ms: until Python had
    the call's end, when it is about as long as wall_ms the GPU waited for Python. events_ms: between two CUDA events.
    peak_gib: allocated at most, weights included.
    """
    first, _, _ = _once(call, device)
    if first < PATIENCE / 3:
        _once(call, device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    measured = [_once(call, device)]
    while len(measured) < runs and (len(measured) < LEAST_RUNS or sum(wall for wall, _, _ in measured) < PATIENCE):
        measured.append(_once(call, device))
    wall, host, events = zip(*measured, strict=True)
    found: Figures = {"wall_ms": 1e3 * median(wall), "least_ms": 1e3 * min(wall), "most_ms": 1e3 * max(wall),
                      "host_ms": 1e3 * median(host), "runs": len(wall), "first_s": first}
    if device == "cuda":
        found |= {"events_ms": median(events), "peak_gib": torch.cuda.max_memory_allocated() / 2**30}
    return found


def _once(call: Call, device: str) -> tuple[float, float, float]:
    """Seconds until done, seconds until handed over, milliseconds between events (0 without a GPU)."""
    if device != "cuda":
        begin = perf_counter()
        call()
        spent = perf_counter() - begin
        return spent, spent, 0.0
    torch.compiler.cudagraph_mark_step_begin()  # what a graph returned before is no longer needed
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin = perf_counter()
    before.record()
    call()
    after.record()
    host = perf_counter() - begin
    torch.cuda.synchronize()
    return perf_counter() - begin, host, before.elapsed_time(after)


def busy(call: Call) -> float:
    """Milliseconds that the GPU computed during one call, its waits left out: the profiler's sum over kernels."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        call()
        torch.cuda.synchronize()
    return sum(row.self_device_time_total for row in seen.key_averages()) / 1e3


def tflop_of(call: Call) -> float:
    """TFLOP of one eager call, counted op by op: 2 a multiply-add, matrix products, convolutions and attention.

    On a CPU attention is made to run as plain products: its fused kernel there has no formula in torch's counter.
    """
    plain = nullcontext() if torch.cuda.is_available() else sdpa_kernel([SDPBackend.MATH])
    with FlopCounterMode(display=False) as counter, plain:
        call()
    return float(counter.get_total_flops() / 1e12)


def with_rate(figures: Figures, tflop: float, rate: float) -> Figures:
    """The same with what was computed a second, TFLOP/s, and its share of `rate`, the matrix product's."""
    speed = tflop / (figures["wall_ms"] / 1e3)
    return figures | {"tflop": tflop, "tflops": speed, "share": speed / rate}


def matmul_rate(device: str, side: int) -> float:
    """TFLOP/s of a square product of random data, as a model's dtype there has it (zeros would run faster)."""
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    one, other = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / 1e9 / float(timed(lambda: one @ other, device, runs=20)["wall_ms"])


def far(one: torch.Tensor, other: torch.Tensor) -> float:
    """max |difference| / max |reference|"""
    one, other = one.float(), other.float()
    return float((one - other).abs().max() / other.abs().max())


def forget(device: str) -> None:
    """Give back what the part before held, compiled code included, so that each part's memory is its own."""
    torch.compiler.reset()
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
