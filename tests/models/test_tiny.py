"""The tiny weights stay what their recipe's name says: results made with them are reused by that name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models import tiny
from models.profiles import TINY_RECIPE

KEPT = Path(__file__).with_name("tiny_weights.json")
RELATIVE = 1e-5
"""torch draws the same numbers on every machine but for the last bits of its vectorised arithmetic."""


def parts() -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
    """Every module the tiny models are made of, by name, as state dicts."""
    sdxl, depth = tiny.sdxl(), tiny.depth()
    modules: dict[str, Any] = {
        "sdxl.unet": sdxl.unet, "sdxl.vae": sdxl.vae, "sdxl.text_encoder": sdxl.text_encoder,
        "sdxl.text_encoder_2": sdxl.text_encoder_2, "sd15.unet": tiny.sd15_unet(), "sd15.vae": tiny.sd15_vae(),
        "sd15.text_encoder": tiny.sd15_text_encoder(), "depth": depth.model, "upscaler": tiny.upscaler().model,
        "teed": tiny.teed(),
        **{f"controlnet.{purpose}": tiny.controlnet(purpose) for purpose in ("outpaint", "lines", "depth")}}
    for name, module in modules.items():
        yield name, module.state_dict()
    yield "iclight.fbc", tiny.iclight_offsets(8)
    yield "matting", tiny.matting_parameters()


def facts(state: dict[str, torch.Tensor]) -> dict[str, Any]:
    """The names and shapes exactly; the values by sums that notice a change of any value and of their order."""
    shapes = json.dumps({name: list(value.shape) for name, value in sorted(state.items())})
    flat = np.concatenate([value.double().numpy().ravel() for _, value in sorted(state.items())])
    wave = 1.5 + np.sin(np.arange(flat.size))
    return {"shapes": hashlib.sha256(shapes.encode()).hexdigest(), "absolute": float(np.abs(flat).sum()),
            "squares": float((flat**2).sum()), "ordered": float((wave * np.abs(flat)).sum()),
            "signed": float((wave * (flat > 0)).sum())}


def test_the_tiny_weights_are_those_of_their_recipe() -> None:
    kept = json.loads(KEPT.read_text())
    assert kept["recipe"] == TINY_RECIPE, (
        "the recipe's name changed: write the file anew with: python tests/models/test_tiny.py")
    now = {name: facts(state) for name, state in parts()}
    assert set(now) == set(kept["parts"])
    moved = [name for name, fact in now.items()
             if fact["shapes"] != kept["parts"][name]["shapes"]
             or any(fact[key] != pytest.approx(kept["parts"][name][key], rel=RELATIVE)
                    for key in ("absolute", "squares", "ordered", "signed"))]
    assert not moved, f"tiny weights moved ({', '.join(moved)}) under the recipe {TINY_RECIPE!r}: raise its name"


def test_the_three_controlnets_differ_and_have_an_effect() -> None:
    nets = [tiny.controlnet(purpose).state_dict() for purpose in ("outpaint", "lines", "depth")]
    last = "controlnet_mid_block.weight"
    assert all(net[last].abs().mean() > 0.01 for net in nets)
    assert not torch.equal(nets[0][last], nets[1][last])
    assert not torch.equal(nets[1][last], nets[2][last])


def test_the_same_call_gives_the_same_weights_whatever_was_drawn_before() -> None:
    first = tiny.sd15_unet().state_dict()
    torch.manual_seed(1)
    tiny.depth()
    second = tiny.sd15_unet().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


if __name__ == "__main__":
    KEPT.write_text(json.dumps(
        {"recipe": TINY_RECIPE, "parts": {name: facts(state) for name, state in parts()}}, indent=1) + "\n")
