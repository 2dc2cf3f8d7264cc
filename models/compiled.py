"""torch.compile for the models that cost the time, behind a setting; where it cannot be had, eager goes on.

Compiled is what the passes call. The SDXL loop runs a UNet's and a ControlNet's blocks itself (models/sdxl/unet.py), so
compiling their `forward` would compile nothing: it is their blocks that are compiled. IC-Light's UNet, whose forward is
called, runs compiled blocks too. Shapes are fixed: each size and each batch is compiled once in a process, and told. No
torch until a model comes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, Literal

Mode = Literal["off", "regional", "whole"]
"""regional: the transformer blocks that repeat, some 60 of SDXL's UNet, share a handful of compilations: seconds to
minutes. whole: each stage of the nets (about ten a net) and the VAE's decoder: faster pictures after a longer wait."""

REPEATED = "BasicTransformerBlock"
"""diffusers names it in UNet2DConditionModel._repeated_blocks; its ControlNets name none, and its own
compile_repeated_blocks refuses them (0.42.1)."""

SHAPES = 64
"""How often one piece of code may be compiled before torch gives up on it: regional blocks share theirs, in 2 widths,
2 nets' row counts, and every size and batch (torch's own limit is 8, after which it is eager without a word)."""

COMPILING = "models are being compiled for a size or batch that is new here: the next picture of its kind takes less"


class Compiler:
    """What is done to models that come in, and what is to be told of it. backend: torch's name for one; cuda graphs are
    inductor's, on a GPU alone."""

    def __init__(self, mode: Mode = "off", backend: str = "inductor") -> None:
        self.mode: Mode = mode
        self.failure: str | None = None
        """Why eager went on, in a line; None while all went well."""
        self.graphs = 0
        """Compiled so far in this process."""
        self._backend = backend
        self._on_gpu = False
        self._note: Callable[[str], None] = _to_nobody

    @property
    def state(self) -> str:
        """For lineage: "off", "regional inductor", "whole inductor", or that it failed."""
        if self.mode == "off":
            return "off"
        return f"{self.mode} {self._backend}" + (" failed: eager" if self.failure else "")

    def prepare(self, loaded: Any, device: str) -> None:
        """Have a loaded object (of models.components) compiled at its first calls on `device`."""
        if self.mode == "off":
            return
        import torch

        self._on_gpu = device.startswith("cuda")
        for module in targets(loaded, self.mode):
            module.compile(backend=self._compile, dynamic=False, isolate_recompiles=self.mode == "whole")
        torch._dynamo.config.recompile_limit = max(SHAPES, torch._dynamo.config.recompile_limit)

    @contextmanager
    def telling(self, note: Callable[[str], None]) -> Generator[None]:
        """note(text) as soon as something is compiled while the block runs, once, and when that fails."""
        before, self._note = self._note, _once(note)
        try:
            yield
        finally:
            self._note = before

    @contextmanager
    def stepping(self) -> Generator[None]:
        """For the time of a lease. What a CUDA graph returned stays valid until the next `step`."""
        self.step()
        yield

    def step(self) -> None:
        """A new sampling step: what compiled code returned before is no longer needed."""
        if self._on_gpu and self.mode != "off":
            import torch

            torch.compiler.cudagraph_mark_step_begin()

    def _compile(self, graph: Any, inputs: Any) -> Any:
        """torch's backend for us: the real one, and the graph as it is where that one fails. A failed compilation must
        not fail a job: there may be no C++ compiler here, or not the right one."""
        from torch._dynamo import lookup_backend
        from torch._inductor import list_mode_options

        if self.failure:
            return graph.forward
        self._note(COMPILING)
        options = {"config_patches": list_mode_options("reduce-overhead")} if self._on_gpu else {}
        try:
            made = lookup_backend(self._backend)(graph, inputs, **(options if self._backend == "inductor" else {}))
        except Exception as error:
            self.failure = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]:.200}"
            self._note(f"compiling failed, so the models run as they are: {self.failure}")
            return graph.forward
        self.graphs += 1
        return made


def _once(note: Callable[[str], None]) -> Callable[[str], None]:
    told: set[str] = set()

    def say(text: str) -> None:
        if text not in told:
            told.add(text)
            note(text)

    return say


def _to_nobody(text: str) -> None:
    """Who compiles outside of a pass is not told."""


def targets(loaded: Any, mode: Mode) -> Iterator[Any]:
    """The modules to compile: parts of UNets, ControlNets and, in `whole`, the decoders of VAEs."""
    from diffusers import AutoencoderKL, ControlNetModel, ControlNetUnionModel, UNet2DConditionModel

    from models.loaders import modules_of

    for module in modules_of(loaded):
        if isinstance(module, UNet2DConditionModel | ControlNetModel | ControlNetUnionModel):
            if mode == "regional":
                yield from (part for part in module.modules() if type(part).__name__ == REPEATED)
            else:
                yield from (*module.down_blocks, module.mid_block, *getattr(module, "up_blocks", ()))
        elif isinstance(module, AutoencoderKL) and mode == "whole":
            yield module.decoder
