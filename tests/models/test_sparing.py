"""Offloading and tiling, and what is left of them afterwards: nothing."""

from __future__ import annotations

from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import torch
from fingerprint import fingerprint

from models import tiny
from models.offload import blocks_of, offloaded
from models.sparing import Spare, sparing
from models.tiling import tile_for, tiled
from models.weights import PROFILES, PinnedModel, resolve
from models.zoo import Zoo


def visitors(module: torch.nn.Module, largest: int) -> dict[torch.nn.Parameter, int]:
    """Where the parameters of the module's blocks lie at home."""
    first = next(module.parameters())
    return {parameter: parameter.data_ptr() for block in blocks_of(module, largest)
            for parameter in block.parameters() if parameter is not first}


@pytest.mark.parametrize("largest", [10**9, 50_000])
def test_offloaded_weights_are_on_the_device_only_while_their_block_is_called(largest: int) -> None:
    """A copy on the CPU stands for one on a GPU: what visits lies elsewhere than at home."""
    unet = tiny.sd15_unet().eval().requires_grad_(False)
    homes, before = visitors(unet, largest), fingerprint({"unet": unet})
    given = {"sample": torch.rand(1, 4, 8, 8), "timestep": 500, "encoder_hidden_states": torch.rand(1, 77, 32)}
    away: list[int] = []

    def count(*_: Any) -> None:
        away.append(sum(parameter.numel() for parameter, home in homes.items() if parameter.data_ptr() != home))

    with torch.inference_mode():
        expected = unet(**given).sample
        with offloaded([unet], "cpu", largest_block=largest):
            hooks = [block.register_forward_hook(count, prepend=True) for block in blocks_of(unet, largest)]
            assert torch.equal(unet(**given).sample, expected)
            for hook in hooks:
                hook.remove()
            assert next(unet.parameters()).data_ptr() not in homes.values()
    total = sum(parameter.numel() for parameter in homes)
    assert 0 < max(away) < (0.5 if largest > 10**6 else 0.2) * total
    assert fingerprint({"unet": unet}) == before


def test_a_block_that_fails_midway_goes_home_too() -> None:
    vae = tiny.sd15_vae().eval().requires_grad_(False)
    before = fingerprint({"vae": vae})

    def fail(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    hook = vae.decoder.mid_block.register_forward_hook(fail)
    with pytest.raises(torch.OutOfMemoryError), torch.inference_mode(), offloaded([vae], "cpu"):
        vae.decode(torch.rand(1, 4, 8, 8))
    hook.remove()
    assert fingerprint({"vae": vae}) == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_offloaded_weights_take_no_memory_there_between_calls() -> None:
    unet = tiny.sd15_unet().eval().requires_grad_(False)
    given = {"sample": torch.rand(1, 4, 8, 8), "timestep": 500, "encoder_hidden_states": torch.rand(1, 77, 32)}
    with torch.inference_mode():
        expected = unet(**given).sample
        with offloaded([unet], "cuda"):
            assert unet.device.type == "cuda"
            made = unet(**{name: one.cuda() if isinstance(one, torch.Tensor) else one for name, one in given.items()})
            size = sum(parameter.numel() * 4 for parameter in unet.parameters())
            assert torch.cuda.memory_allocated() < size / 2
    assert torch.allclose(made.sample.cpu(), expected, atol=1e-3)
    assert {parameter.device.type for parameter in unet.parameters()} == {"cpu"}


def test_a_tiled_vae_decodes_and_encodes_in_tiles_that_overlap() -> None:
    vae = tiny.sd15_vae().eval().requires_grad_(False)
    before, sizes = fingerprint({"vae": vae}), []
    hook = vae.decoder.register_forward_pre_hook(lambda _, inputs: sizes.append(tuple(inputs[0].shape[-2:])))
    with torch.inference_mode(), tiled(vae, 64):
        made = vae.decode(torch.rand(1, 4, 16, 16)).sample
        assert vae.encode(torch.rand(1, 3, 128, 128)).latent_dist.mean.shape == (1, 4, 16, 16)
    hook.remove()
    assert made.shape == (1, 3, 128, 128)
    assert len(sizes) == 9
    assert max(sizes) == (8, 8)
    assert fingerprint({"vae": vae}) == before


@pytest.mark.parametrize(("side", "tile"), [(64, None), (127, None), (128, 64), (768, 384), (1024, 512), (4096, 512)])
def test_tiles_are_half_a_side_and_at_most_512(side: int, tile: int | None) -> None:
    assert tile_for(side) == tile


def test_an_error_in_the_block_undoes_both() -> None:
    sdxl = tiny.sdxl()
    before = fingerprint({"sdxl": sdxl})
    within: list[bool] = []

    def fail() -> None:
        with sparing([sdxl], Spare(tile=64, offload=True), "cpu"):
            within.append(fingerprint({"sdxl": sdxl}) != before)
            raise KeyError("midway")

    with pytest.raises(KeyError):
        fail()
    assert within == [True]
    assert fingerprint({"sdxl": sdxl}) == before


def test_a_net_behind_three_roles_is_offloaded_once() -> None:
    """As the profile sdxl-union's: one ControlNet-Union serves the three maps."""
    def hooks(*nets: torch.nn.Module) -> dict[str, int]:
        with sparing(nets, Spare(offload=True), "cpu"):
            return {name: len(block._forward_pre_hooks) + len(block._forward_hooks)
                    for name, block in nets[0].named_modules()}

    net, other = tiny.controlnet("lines"), tiny.controlnet("depth")
    once = hooks(net, other)
    assert set(once.values()) == {0, 2}
    assert hooks(net, net, other, net) == once


def test_who_computes_in_less_memory_has_the_zoo_to_itself(pinned: dict[str, PinnedModel]) -> None:
    zoo, order, inside = Zoo(device="cpu"), list[str](), Event()

    def other() -> None:
        inside.wait()
        with zoo.lease(pinned):
            order.append("other")

    thread = Thread(target=other)
    thread.start()
    with zoo.lease(pinned, Spare(tile=64)):
        inside.set()
        thread.join(0.3)
        order.append("spared")
    thread.join()
    assert order == ["spared", "other"]


@pytest.fixture
def pinned() -> dict[str, PinnedModel]:
    return {"iclight_fbc": resolve(PROFILES["tiny"], Path("none"))["iclight_fbc"]}
