"""What a loaded model is, to the last attribute that a pass could leave changed."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from models.loaders import modules_of

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_forward_hooks_always_called", "_backward_hooks",
         "_forward_hooks_with_kwargs", "_forward_pre_hooks_with_kwargs")


def fingerprint(models: Mapping[str, Any]) -> dict[str, Any]:
    """Equal before and after where nothing was left changed: each tensor's identity, device, dtype, shape, flags and
    bytes; each module's class, training flag, hooks and plain attributes (a VAE's tiling among them); each attention's
    processor. A difference of two tells by its key where."""
    found: dict[str, Any] = {}
    for role, loaded in models.items():
        for number, model in enumerate(modules_of(loaded)):
            for name, module in model.named_modules():
                found |= {f"{role}.{number}.{name}:{key}": value for key, value in _of_module(module)}
    return found


def _of_module(module: torch.nn.Module) -> Iterator[tuple[str, Any]]:
    yield "class", type(module).__qualname__
    yield "hooks", tuple(len(getattr(module, name)) for name in HOOKS)
    for name, value in vars(module).items():
        if isinstance(value, bool | int | float | str | tuple | type(None)):
            yield f"attribute {name}", value
        elif name == "processor":
            yield "processor", id(value)
    for name, tensor in (*module._parameters.items(), *module._buffers.items()):
        if tensor is not None:
            bytes_of = tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy()
            yield f"tensor {name}", (id(tensor), tensor.data_ptr(), str(tensor.device), tensor.dtype,
                                     tuple(tensor.shape), tensor.requires_grad, zlib.crc32(bytes_of))
