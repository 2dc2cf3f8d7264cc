"""torch.compile, by itself: what is compiled, and what stands in for a compiler where there is no GPU."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

REGIONS = frozenset({"BasicTransformerBlock", "ResnetBlock2D", "Downsample2D", "Upsample2D", "RRDB"})
"""The classes that make up nearly all of a UNet, ControlNet or VAE. Compiled one by one they share a few dozen
compilations, and serve whoever calls them: our loop, which never calls a UNet's `forward`, and diffusers' pipelines."""

HOWS = ("regions", "blocks")
"""blocks: a net's ten stages and a VAE's two halves instead: longer to compile, and a tenth of the calls."""

SHAPES = 256
"""How often one piece of code may be compiled; torch's own 8 is less than the shapes here, and beyond it torch would
run eager without a word."""


def options(mode: str, device: str) -> dict[str, Any]:
    """For torch.compile. On a CPU the graphs are captured and run as they are: inductor would make C++ of them for
    minutes, and its speed there is not what is asked."""
    torch._dynamo.config.recompile_limit = max(SHAPES, torch._dynamo.config.recompile_limit)
    torch._dynamo.config.accumulated_recompile_limit = max(
        8 * SHAPES, torch._dynamo.config.accumulated_recompile_limit)
    made: dict[str, Any] = {"mode": mode} if device == "cuda" else {"backend": "aot_eager"}
    return made | {"dynamic": False}


def compile_parts(modules: Iterable[Any], mode: str, device: str, how: str = "regions") -> int:
    """Have the regions or blocks of `modules` compiled at their next calls; returns how many there are.

    Their `forward` and not, as Module.compile would, their call: that is one piece of code for all classes, and torch
    asks each compilation of a piece of code in turn whether it fits.
    """
    found = [part for module in modules for part in (_blocks(module) if how == "blocks" else _regions(module))]
    for part in found:
        part.forward = torch.compile(part.forward, **options(mode, device))
    return len(found)


def uncompile(modules: Iterable[Any]) -> None:
    """Eager again."""
    for module in modules:
        for part in module.modules():
            part.__dict__.pop("forward", None)
    torch.compiler.reset()


def whole(module: Any, mode: str, device: str) -> Any:
    """The module as one graph, with weights laid out as convolutions like them. A failed capture is an error."""
    return torch.compile(module.to(memory_format=torch.channels_last), fullgraph=True, **options(mode, device))


def _regions(module: Any) -> Iterable[Any]:
    return (part for part in module.modules() if type(part).__name__ in REGIONS)


def _blocks(module: Any) -> Iterable[Any]:
    if hasattr(module, "decoder"):
        return [module.encoder, module.decoder]
    return [*getattr(module, "down_blocks", ()), module.mid_block, *getattr(module, "up_blocks", ())]
