"""Computing in less memory: what a lease may ask for, and how it is done to the leased models and undone."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Spare:
    """tile: side in pixels of the tiles that VAEs work in; None: whole pictures, as always. offload: weights lie on the
    CPU, and are on the device only while they are used: slower, the same picture."""

    tile: int | None = None
    offload: bool = False

    def __bool__(self) -> bool:
        return self.tile is not None or self.offload


@contextmanager
def sparing(loaded: Iterable[Any], spare: Spare, device: str) -> Generator[None]:
    """Do to the loaded objects (of models.components) what `spare` says, and undo it. Where weights are to be offloaded
    they lie on the CPU. Compiled models run eagerly: tiles are shapes they were not compiled for, and weights that come
    and go are at other addresses than a CUDA graph remembers."""
    import torch
    from diffusers import AutoencoderKL

    from models.loaders import modules_of
    from models.offload import offloaded
    from models.tiling import tiled

    modules = {id(module): module for one in loaded for module in modules_of(one)}.values()  # roles may share a net
    with ExitStack() as held:
        held.enter_context(torch.compiler.set_stance("force_eager"))
        if spare.tile is not None:
            for module in modules:
                if isinstance(module, AutoencoderKL):
                    held.enter_context(tiled(module, spare.tile))
        if spare.offload:
            held.enter_context(offloaded(modules, device))
        yield
