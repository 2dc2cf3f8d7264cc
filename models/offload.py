"""Models larger than the GPU: weights stay on the CPU, and a block's are on the device only while it is called.

Our own, since diffusers' and accelerate's hooks begin at a model's `forward`, which the SDXL loop does not call
(models/sdxl/unet.py), and move what `unet.device` says to the CPU while the pass computes elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager

import torch

LARGEST_BLOCK = 512 * 1024**2
"""Bytes of weights that may visit the device at once, where a module of that size can be taken apart. SDXL's second
up block alone has some 2 GB in half precision."""

TAKEN_WHOLE = (torch.nn.MultiheadAttention,)
"""Modules that read their children's weights without calling them."""


@contextmanager
def offloaded(modules: Iterable[torch.nn.Module], device: str | torch.device, *,
              largest_block: int = LARGEST_BLOCK) -> Generator[None]:
    """While the block runs, `modules` (which lie on the CPU) compute on `device`; afterwards they are as they were.

    A module's first parameter, its buffers and what it holds outside of its blocks are on the device all the time: by
    its first parameter the libraries tell where a module is. Weights must not change in the block: what visits the
    device is a copy that is dropped, and nothing is copied back.
    """
    with ExitStack() as held:
        for module in modules:
            blocks = list(blocks_of(module, largest_block))
            first = next(module.parameters(), None)
            visiting = {id(parameter) for block in blocks for parameter in block.parameters()} - {id(first)}
            held.enter_context(_staying(module, visiting, device))
            for block in blocks:
                held.enter_context(_visiting(block, visiting, device))
        yield


def blocks_of(module: torch.nn.Module, largest: int = LARGEST_BLOCK) -> Iterator[torch.nn.Module]:
    """Its children, lists of modules taken apart, and so are blocks of more than `largest` bytes. Whoever uses a module
    calls each of these, if it calls them at all."""
    for child in module.children():
        if isinstance(child, torch.nn.ModuleList | torch.nn.ModuleDict) or _can_be_parted(child, largest):
            yield from blocks_of(child, largest)
        else:
            yield child


def _can_be_parted(module: torch.nn.Module, largest: int) -> bool:
    size = sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())
    return size > largest and not isinstance(module, TAKEN_WHOLE) and next(module.children(), None) is not None


@contextmanager
def _staying(module: torch.nn.Module, visiting: Collection[int], device: str | torch.device) -> Generator[None]:
    """All of the module's tensors but those that visit are on the device while the block runs."""
    homes = [(tensor, tensor.data) for tensor in (*module.parameters(), *module.buffers())
             if id(tensor) not in visiting]
    try:
        for tensor, home in homes:
            tensor.data = _copy(home, device)
        yield
    finally:
        for tensor, home in homes:
            tensor.data = home


@contextmanager
def _visiting(block: torch.nn.Module, visiting: Collection[int], device: str | torch.device) -> Generator[None]:
    homes = [(parameter, parameter.data) for parameter in block.parameters() if id(parameter) in visiting]

    def come(*_: object) -> None:
        for parameter, home in homes:
            parameter.data = _copy(home, device)

    def go(*_: object) -> None:
        for parameter, home in homes:
            parameter.data = home

    hooks = [block.register_forward_pre_hook(come), block.register_forward_hook(go)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        go()  # a block that failed stayed


def _copy(home: torch.Tensor, device: str | torch.device) -> torch.Tensor:
    """Always a copy, also where the device is the CPU itself, and never an inference tensor: such a one cannot become a
    parameter's data."""
    with torch.inference_mode(False):
        return home.to(device, copy=True)
