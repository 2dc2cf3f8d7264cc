"""Measurements 1 to 4 and 7 of spec/performance.md 8: one net at a time, called as diffusers calls it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.compiling import compile_parts, uncompile, whole
from benchmarks.gpu.inputs import Inputs
from benchmarks.gpu.random_weights import ROLES, Weights
from benchmarks.gpu.timing import Call, Figures, busy, tflop_of, timed, with_rate
from models.sdxl.union import KINDS, UnionControl

GRAPHS = "reduce-overhead"
"""Compiled and replayed as one CUDA graph: no Python between kernels."""


def weights_of(bench: Bench) -> Weights:
    return Weights(full=bench.scale.full, device=bench.device, dtype=bench.dtype)


def counted(bench: Bench, call: Call, eager: Call | None = None) -> Figures:
    """A call's times with its arithmetic, which is counted by the eager call."""
    tflop = tflop_of(eager or call)
    return with_rate(timed(call, bench.device, runs=bench.scale.runs), tflop, bench.rate)


def unet_call(bench: Bench, unet: Any, rows: int, called: Any = None) -> Call:
    given = Inputs.of(bench)
    latents, timestep, told = given.latents(rows), given.timestep(), given.told(unet, rows)
    return lambda: (unet if called is None else called)(latents, timestep, **told)


def unet(bench: Bench) -> None:
    """1. SDXL's UNet, eager, by rows: wall time, and how much of it the GPU computed."""
    net = weights_of(bench).unet()

    def measure(rows: int) -> Figures:
        call = unet_call(bench, net, rows)
        found = counted(bench, call)
        return found | ({"busy_ms": busy(call)} if bench.device == "cuda" else {})

    for rows in bench.scale.rows:
        bench.case(f"{rows} rows", lambda rows=rows: measure(rows))


def unet_compiled(bench: Bench) -> None:
    """2. The same compiled, channels last: its regions one by one, then whole, then whole as one CUDA graph."""
    net = weights_of(bench).unet().to(memory_format=torch.channels_last)
    mode, rows = bench.scale.mode, bench.scale.rows

    def in_parts(count: int) -> Figures:
        call = unet_call(bench, net, count)
        tflop = tflop_of(call)
        compile_parts([net], mode, bench.device, bench.scale.how)
        return with_rate(timed(call, bench.device, runs=bench.scale.runs), tflop, bench.rate)

    def as_one(count: int, how: str) -> Figures:
        eager = unet_call(bench, net, count)
        return counted(bench, unet_call(bench, net, count, whole(net, how, bench.device)), eager)

    for count in sorted(rows, key=lambda one: (one != 3, one)):  # three rows are a job's: first, should time run out
        bench.case(f"{count} rows, {bench.scale.how}, {mode}", lambda count=count: in_parts(count))
        uncompile([net])
    for how in (mode, GRAPHS):
        for count in [one for one in rows if one == 3] or rows[-1:]:
            bench.case(f"{count} rows, whole, {how}", lambda count=count, how=how: as_one(count, how))
            uncompile([net])


def others(bench: Bench) -> None:
    """3. A ControlNet and a Union of three maps for two rows, the VAE in bfloat16 and float32; eager and compiled."""
    made, given = weights_of(bench), Inputs.of(bench)
    kept: list[tuple[str, list[Any], Call]] = []

    def eager(name: str, build: Callable[[], tuple[list[Any], Call]]) -> Figures:
        nets, call = build()
        kept.append((name, nets, call))
        return counted(bench, call)

    def control() -> tuple[list[Any], Call]:
        net = made.nets()[0]
        latents, told, map_ = given.latents(2), given.told(net, 2), given.pictures(2)
        return [net], lambda: net(latents, given.timestep(), controlnet_cond=map_, **told)

    def united() -> tuple[list[Any], Call]:
        net = made.union()
        kinds = [KINDS["repaint"], KINDS["line"], KINDS["depth"]]
        steer = UnionControl(net, [given.pictures(1) for _ in ROLES], kinds, (1.0, 1.0, 1.0))
        ready, latents = steer.prepare(given.text(net, 2), given.size), given.latents(1).repeat(2, 1, 1, 1)
        return [net], lambda: ready(latents, given.timestep())

    def decoding(dtype: torch.dtype) -> tuple[list[Any], Call]:
        vae, latents = made.vae(dtype), given.latents(1).to(dtype)
        return [vae], lambda: vae.decode(latents, return_dict=False)

    bench.case("ControlNet, 2 rows", lambda: eager("ControlNet, 2 rows", control))
    bench.case("Union of 3, 2 rows", lambda: eager("Union of 3, 2 rows", united))
    for dtype in (torch.bfloat16, torch.float32):
        name = f"VAE decoding, 1 picture, {str(dtype).removeprefix('torch.')}"
        bench.case(name, lambda name=name, dtype=dtype: eager(name, lambda: decoding(dtype)))
    for name, nets, call in kept:
        def compiled(nets: list[Any] = nets, call: Call = call) -> Figures:
            tflop = tflop_of(call)
            compile_parts(nets, bench.scale.mode, bench.device)
            return with_rate(timed(call, bench.device, runs=bench.scale.runs), tflop, bench.rate)

        bench.case(f"{name}, compiled", compiled)
        uncompile(nets)


def attention(bench: Bench) -> None:
    """4. IC-Light's UNet at the full size in two rows, by the kernel that attends."""
    net, given = weights_of(bench).iclight_unet(), Inputs.of(bench)
    channels = net.conv_in.in_channels
    latents, text = given.latents(2, channels), given.normal(2, 77, net.config.cross_attention_dim)
    timestep = given.timestep()

    def call() -> object:
        return net(latents, timestep, encoder_hidden_states=text, return_dict=False)

    tflop = tflop_of(call)
    bench.case("torch's choice", lambda: with_rate(
        timed(call, bench.device, runs=bench.scale.runs), tflop, bench.rate))
    for name in ("FLASH_ATTENTION", "CUDNN_ATTENTION", "EFFICIENT_ATTENTION", "MATH"):
        def forced(name: str = name) -> Figures:
            with sdpa_kernel([getattr(SDPBackend, name)]):
                return with_rate(timed(call, bench.device, runs=bench.scale.runs), tflop, bench.rate)

        bench.case(name, forced)


def upscaler(bench: Bench) -> None:
    """7. Real-ESRGAN's network on one picture: eager in float32 as shipped and in bfloat16, then compiled."""
    made, given = weights_of(bench), Inputs.of(bench)

    def measure(dtype: torch.dtype, compiled: bool) -> Figures:
        net, picture = made.upscaler(dtype), given.pictures(1, dtype)
        if not compiled:
            return counted(bench, lambda: net(picture))
        last = net.to(memory_format=torch.channels_last)
        tflop = tflop_of(lambda: last(picture))
        compile_parts([last], bench.scale.mode, bench.device)
        found = timed(lambda: last(picture), bench.device, runs=bench.scale.runs)
        uncompile([last])
        return with_rate(found, tflop, bench.rate)

    bench.case("eager, float32", lambda: measure(torch.float32, False))
    bench.case("eager, bfloat16", lambda: measure(torch.bfloat16, False))
    bench.case("compiled, channels last, bfloat16", lambda: measure(torch.bfloat16, True))
