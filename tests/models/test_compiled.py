"""torch.compile on the real wiring: what is compiled, how often, that pictures stay, and that failing costs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from torch._dynamo.utils import counters

from models import tiny
from models.compiled import COMPILING, Compiler, targets
from models.params import SdxlParams
from models.passes import PassContext
from models.pictures import Picture
from models.sdxl import decode
from models.sdxl.render import sdxl
from models.sparing import Spare
from models.weights import PROFILES, PinnedModel, resolve
from models.zoo import Zoo

PINNED: Mapping[str, PinnedModel] = resolve(PROFILES["tiny"], Path("no-such-folder"))
ROLES = ("sdxl", "controlnet_outpaint")
PARAMS = SdxlParams(prompt="a mug", negative_prompt="", steps=2, seed=1, strength=1.0, brightness=0.0,
                    guidance_scale=4.0, pag_scale=3.0, outpaint_scale=0.5, depth_scale=0.0, line_scale=0.0)


@pytest.fixture(autouse=True)
def nothing_compiled_yet() -> None:
    torch._dynamo.reset()
    counters.clear()


def rendered(zoo: Zoo, width: int = 64, spare: Spare | None = None) -> tuple[Picture, torch.Tensor, list[str]]:
    """A picture, the VAE's output it was rounded from, and what was said."""
    placed = np.zeros((64, width, 4), np.uint8)
    placed[16:48, 16:48] = (200, 90, 40, 255)
    raw: list[torch.Tensor] = []
    notes: list[str] = []
    with (zoo.lease({role: PINNED[role] for role in ROLES}, spare) as models, zoo.compiler.telling(notes.append),
          pytest.MonkeyPatch.context() as patch):
        vae = models["sdxl"].vae  # not by a hook: it would be compiled too
        patch.setattr(vae, "decode", lambda latents: kept(AutoencoderKL.decode(vae, latents), raw))
        picture = sdxl(PARAMS, PassContext(models=models), placed=placed, outpaint=placed[..., :3])
    return picture, raw[0], notes


def kept(decoded: Any, raw: list[torch.Tensor]) -> Any:
    raw.append(decoded.sample.clone())
    return decoded


def far(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max() / other.abs().max())


@pytest.mark.parametrize(("mode", "backend"), [("regional", "aot_eager"), pytest.param(
    "whole", "aot_eager", marks=pytest.mark.slow), pytest.param("regional", "inductor", marks=pytest.mark.slow)])
def test_each_size_is_compiled_once_and_its_pictures_are_those_of_eager(mode: Any, backend: str) -> None:
    eager, compiled = Zoo(device="cpu"), Zoo(device="cpu", compiler=Compiler(mode, backend))
    graphs = []
    for width in (64, 64, 96, 64):
        plain, ours = rendered(eager, width), rendered(compiled, width)
        new = compiled.compiler.graphs - sum(graphs)
        graphs.append(new)
        assert far(ours[1], plain[1]) < 1e-4
        assert int(np.abs(ours[0].astype(int) - plain[0]).max()) <= 1
        assert ours[2] == ([COMPILING] if new else [])
    assert graphs[0] > 0
    assert graphs[1:] == [0, graphs[0], 0], "a second size costs what the first did, and none is forgotten"
    assert graphs[0] == {"regional": 3, "whole": 9}[mode], "regional: two rows, three rows, three with one perturbed"
    assert counters["stats"]["unique_graphs"] == sum(graphs)
    assert not counters["recompile_limit"]
    assert not counters["graph_break"]
    assert compiled.compiler.state == f"{mode} {backend}"


def test_what_fails_to_compile_is_said_once_and_runs_eagerly(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without a C++ compiler."""
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", (None, "/no/such/compiler"))
    monkeypatch.setattr("torch._inductor.config.force_disable_caches", True)
    zoo = Zoo(device="cpu", compiler=Compiler("regional"))
    picture, raw, notes = rendered(zoo)
    plain, plain_raw, _ = rendered(Zoo(device="cpu"))
    assert far(raw, plain_raw) < 1e-4
    assert notes[0] == COMPILING
    assert notes[1].startswith("compiling failed, so the models run as they are: InductorError: InvalidCxxCompiler")
    assert len(notes) == 2
    assert np.array_equal(picture, plain)
    assert zoo.compiler.state == "regional inductor failed: eager"
    assert rendered(zoo)[2] == []


def test_in_less_memory_compiled_models_run_eagerly() -> None:
    zoo = Zoo(device="cpu", compiler=Compiler("regional", "aot_eager"))
    assert rendered(zoo, spare=Spare(offload=True))[2] == []
    assert zoo.compiler.graphs == 0


def test_off_compiles_nothing() -> None:
    zoo = Zoo(device="cpu")
    rendered(zoo)
    assert (zoo.compiler.state, zoo.compiler.graphs, counters["stats"]["unique_graphs"]) == ("off", 0, 0)


@pytest.mark.parametrize(("build", "regional", "whole"), [
    (tiny.sdxl, {"BasicTransformerBlock"}, {"DownBlock2D", "CrossAttnDownBlock2D", "UNetMidBlock2DCrossAttn",
                                            "CrossAttnUpBlock2D", "UpBlock2D", "Decoder"}),
    (lambda: tiny.controlnet("depth"), {"BasicTransformerBlock"}, {
        "DownBlock2D", "CrossAttnDownBlock2D", "UNetMidBlock2DCrossAttn"}),
    (tiny.union, {"BasicTransformerBlock"}, {"DownBlock2D", "CrossAttnDownBlock2D", "UNetMidBlock2DCrossAttn"}),
    (tiny.depth, set(), set()), (tiny.upscaler, set(), set())])
def test_what_is_compiled_is_what_the_passes_call(build: Any, regional: set[str], whole: set[str]) -> None:
    loaded = build()
    assert {type(part).__name__ for part in targets(loaded, "regional")} == regional
    assert {type(part).__name__ for part in targets(loaded, "whole")} == whole


def test_cuda_graphs_are_asked_for_on_a_gpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr("torch._dynamo.lookup_backend", lambda name: lambda graph, inputs, **more: (
        asked.append(more), graph.forward)[1])
    graph = torch.fx.symbolic_trace(torch.nn.Identity())
    for device in ("cpu", "cuda:0"):
        compiler = Compiler("regional")
        compiler.prepare(tiny.controlnet("depth"), device)
        compiler._compile(graph, [])
    assert asked == [{}, {"config_patches": {"triton.cudagraphs": True}}]


def test_the_vae_that_decode_calls_is_the_compiled_one() -> None:
    """`whole` compiles vae.decoder: if decode came to call something else, nothing would be compiled."""
    vae = tiny.sdxl().vae
    called: list[int] = []
    vae.decoder.register_forward_hook(lambda *_: called.append(1))
    with torch.inference_mode():
        decode.decode(vae, torch.rand(1, 4, 8, 8))
    assert called == [1]
