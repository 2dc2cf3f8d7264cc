"""The whole default job as BACKLOT_COMPILE compiles it: by models.compiled, and not by this benchmark's own way."""

from __future__ import annotations

from functools import partial

import torch

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.job import Job, figures_of, levels_apart
from benchmarks.gpu.timing import Figures, tflop_of
from models.compiled import Compiler, Mode

MODES: tuple[Mode, ...] = ("regional", "whole")


def job_setting(bench: Bench) -> None:
    """Ours as BACKLOT_COMPILE=regional and =whole have it compiled; levels apart are from its own eager pictures."""
    for mode in MODES:
        _compiled(bench, mode)
        torch.compiler.reset()


def _compiled(bench: Bench, mode: Mode) -> None:
    made = Job(bench)
    lean = tflop_of(lambda: made.ours(made.prepared[:1]))
    eager = {count: made.ours(made.prepared[:count]) for count in bench.scale.pictures}
    compiler = Compiler(mode, "inductor" if bench.device == "cuda" else "aot_eager")
    for loaded in made.models.values():
        compiler.prepare(loaded, bench.device)
    made.on_step = lambda done, total: compiler.step()

    def measure(count: int) -> Figures:
        with compiler.stepping():
            figures, relit = figures_of(bench, made, made.prepared[:count], lean, made.ours)
        if compiler.failure:
            raise RuntimeError(f"it ran eagerly: {compiler.failure}")
        return figures | {"who": "ours", "how": mode, "levels": levels_apart(relit, eager[count]),
                          "graphs": compiler.graphs}

    for count in eager:
        bench.case(f"{count} at a time, ours, BACKLOT_COMPILE={mode}", partial(measure, count))
