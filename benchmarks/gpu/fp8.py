"""Measurement 6 of spec/performance.md 8: the linear layers in 8-bit floats, a scale a row, on GPUs that compute them.
"""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.compiling import compile_parts, uncompile
from benchmarks.gpu.nets import unet_call, weights_of
from benchmarks.gpu.timing import Figures, far, tflop_of, timed, with_rate

FP8 = torch.float8_e4m3fn
LARGEST = torch.finfo(FP8).max


class RowwiseLinear(torch.nn.Module):
    """A linear layer whose weight is kept in e4m3 with a scale for each output, and whose input is brought there with
    a scale for each row as it comes. Its inputs and outputs have to be multiples of 16."""

    def __init__(self, linear: Any) -> None:
        super().__init__()
        weight, scale = rowwise(linear.weight)
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)
        self.bias = linear.bias

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        rows, scale = rowwise(values.reshape(-1, values.shape[-1]))
        made = torch._scaled_mm(rows, self.weight.t(), scale_a=scale, scale_b=self.scale.t(), out_dtype=values.dtype)
        made = made if self.bias is None else made + self.bias
        return made.reshape(*values.shape[:-1], -1)


def rowwise(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(rows, columns) -> the same in e4m3, and float32 (rows, 1) to multiply it by."""
    scale = values.abs().amax(dim=1, keepdim=True).float().clamp(min=1e-12) / LARGEST
    return (values.float() / scale).clamp(-LARGEST, LARGEST).to(FP8), scale


def quantised(net: Any) -> int:
    """Put RowwiseLinear in place of the linear layers inside the net's transformers; returns how many."""
    swapped = 0
    for block in net.modules():
        if type(block).__name__ != "BasicTransformerBlock":
            continue
        for inner, layer in list(block.named_modules()):
            if isinstance(layer, torch.nn.Linear) and not (layer.in_features % 16 or layer.out_features % 16):
                parent, _, last = inner.rpartition(".")
                setattr(block.get_submodule(parent), last, RowwiseLinear(layer))
                swapped += 1
    return swapped


def fp8(bench: Bench) -> None:
    """6. SDXL's UNet at three rows, compiled, with bfloat16 and with 8-bit linears (torchao's, or a few lines here)."""
    net, mode = weights_of(bench).unet(), bench.scale.mode
    call = unet_call(bench, net, 3)
    tflop = tflop_of(call)
    wanted = call()[0]  # type: ignore[index]

    def compiled() -> Figures:
        uncompile([net])
        compile_parts([net], mode, bench.device)
        return with_rate(timed(call, bench.device, runs=bench.scale.runs), tflop, bench.rate)

    def with_torchao() -> Figures:
        from torchao.quantization import Float8DynamicActivationFloat8WeightConfig, PerRow, quantize_

        uncompile([net])
        quantize_(net, Float8DynamicActivationFloat8WeightConfig(granularity=PerRow()), filter_fn=_in_a_transformer)
        return compiled() | {"far": far(call()[0], wanted)}  # type: ignore[index]

    def with_ours() -> Figures:
        uncompile([net])
        linears = quantised(net)
        return compiled() | {"far": far(call()[0], wanted), "linears": linears}  # type: ignore[index]

    base = bench.case("linears as they are", compiled)
    for name, measure in (("8-bit linears, torch._scaled_mm", with_ours), ("8-bit linears, torchao", with_torchao)):
        if name.endswith("torchao"):
            uncompile([net])
            net = weights_of(bench).unet()
            call = unet_call(bench, net, 3)
            wanted = call()[0]  # type: ignore[index]

        def against(measure: Any = measure) -> Figures:
            found: Figures = measure()
            return found | ({"times_bf16": base["wall_ms"] / found["wall_ms"]} if base else {})

        bench.case(name, against)


def _in_a_transformer(module: Any, name: str) -> bool:
    return isinstance(module, torch.nn.Linear) and "transformer_blocks" in name and not (
        module.in_features % 16 or module.out_features % 16)
