"""bfloat16 from the weights to the picture: nothing is upcast in silence, and the picture is near float32's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models import loaders
from models.params import SdxlParams
from models.passes import PassContext
from models.pictures import Picture
from models.sdxl.render import sdxl
from models.weights import PROFILES, resolve
from models.zoo import Zoo

PINNED = resolve(PROFILES["tiny"], Path("no-such-folder"))
ROLES = ("sdxl", "controlnet_outpaint", "controlnet_lines", "controlnet_depth")
PARAMS = SdxlParams(prompt="a mug", negative_prompt="", steps=2, seed=1, strength=1.0, brightness=0.0,
                    guidance_scale=3.0, pag_scale=2.0, outpaint_scale=0.5, depth_scale=0.5, line_scale=0.5)


def rendered(models: Mapping[str, Any]) -> Picture:
    placed = np.zeros((64, 64, 4), np.uint8)
    placed[16:48, 16:48] = (200, 90, 40, 255)
    maps = dict.fromkeys(("outpaint", "lines", "depth"), placed[..., :3])
    return sdxl(PARAMS, PassContext(models=models), placed=placed, **maps)


@pytest.fixture(scope="module")
def zoo() -> Zoo:
    return Zoo(device="cpu", dtype="bfloat16")


@pytest.mark.parametrize("role", [role for role in PINNED if role != "matting"])  # which is no torch module
def test_the_zoos_dtype_reaches_every_tensor_of_every_module(zoo: Zoo, role: str) -> None:
    """But for what makes pictures itself and is small; loaders.IN_FLOAT32 says why."""
    expected = torch.float32 if role in ("depth", "lines", "upscaler") else torch.bfloat16
    with zoo.lease({role: PINNED[role]}) as models:
        found = {tensor.dtype for module in loaders.modules_of(models[role])
                 for tensor in (*module.parameters(), *module.buffers()) if tensor.is_floating_point()}
    assert found == {expected}
    assert zoo.dtype_of([PINNED[role]]) == str(expected).removeprefix("torch.")


def test_every_layer_of_a_pass_computes_in_bfloat16_though_the_vaes_configuration_asks_for_float32(zoo: Zoo) -> None:
    """SDXL's own VAE has force_upcast; in bfloat16, with float32's range, it needs none."""
    seen: dict[torch.dtype, set[str]] = {}
    with zoo.lease({role: PINNED[role] for role in ROLES}) as models:
        vae = models["sdxl"].vae
        vae.register_to_config(force_upcast=True)

        def look(module: torch.nn.Module, _: Any, given: Any) -> None:
            if isinstance(given, torch.Tensor) and given.is_floating_point() and module._parameters:
                seen.setdefault(given.dtype, set()).add(type(module).__name__)

        hooks = [layer.register_forward_hook(look) for loaded in models.values()
                 for module in loaders.modules_of(loaded) for layer in module.modules()]
        try:
            rendered(models)
        finally:
            vae.register_to_config(force_upcast=False)
            for hook in hooks:
                hook.remove()
    assert set(seen) == {torch.bfloat16}
    assert {"Conv2d", "Linear", "GroupNorm", "LayerNorm"} <= seen[torch.bfloat16]


def test_its_picture_is_finite_and_near_float32s(zoo: Zoo) -> None:
    with zoo.lease({role: PINNED[role] for role in ROLES}) as models:
        half = rendered(models)
    with Zoo(device="cpu").lease({role: PINNED[role] for role in ROLES}) as models:
        whole = rendered(models)
    apart = np.abs(half.astype(int) - whole)
    assert 0 < apart.mean() < 6
    assert half.std() > 10
