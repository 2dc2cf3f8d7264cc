"""omni-bg's whole default job on pictures of examples/, by our passes and by stock diffusers executing the same steps.

    prepare (CPU)  cut_out, place, outpaint, lines             once a picture, the same for both
    scene, light   first pass, depth, second pass, relight     what is held against diffusers
    finish (CPU)   mix                                         once a picture, the same for both
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.gpu import stock
from benchmarks.gpu.bench import Bench
from benchmarks.gpu.compiling import compile_parts, uncompile
from benchmarks.gpu.defaults import BRIGHTNESS, LIGHT_GUIDANCE, LIGHT_MIX, NEGATIVE, PADDING, PASSES, PROMPT
from benchmarks.gpu.nets import weights_of
from benchmarks.gpu.random_weights import ROLES
from benchmarks.gpu.timing import Figures, tflop_of, timed, with_rate
from models.iclight_prompts import encode_texts
from models.params import (
    CutOutParams,
    DepthParams,
    LinesParams,
    MixParams,
    OutpaintParams,
    PassParams,
    PlaceParams,
    RelightParams,
    SdxlParams,
    schedule_length,
)
from models.passes import PASSES as TABLE
from models.passes import PassContext
from models.pictures import Picture, flat, over, size_of
from models.relight import stages_for
from models.sdxl.guidance import Guidance
from models.sdxl.text import encode_prompts

EXAMPLES = Path(__file__).resolve().parents[2] / "examples/products"
PHOTOS = ("mug.jpg", "shoe-box.jpg")
Pictures = dict[str, Picture]


class Job:
    """Its models, and what was prepared of each picture."""

    def __init__(self, bench: Bench) -> None:
        begin, made = perf_counter(), weights_of(bench)
        self._bench, self._scale = bench, bench.scale
        self.on_step: Callable[[int, int], None] = lambda done, total: None
        self.sdxl, self.nets, self.iclight = made.sdxl(), made.nets(), made.iclight()
        self.models: dict[str, Any] = {
            "sdxl": self.sdxl, "iclight_fbc": self.iclight, "depth": made.depth(),
            **{f"controlnet_{role}": net for role, net in zip(ROLES, self.nets, strict=True)}}
        if bench.device == "cuda":
            torch.cuda.synchronize()
        self.built_s = perf_counter() - begin
        begin = perf_counter()
        photos = [self._prepare(EXAMPLES / name) for name in PHOTOS]
        self.prepare_s = (perf_counter() - begin) / len(photos)
        self.prepared = [photos[index % len(photos)] for index in range(max(bench.scale.pictures))]

    def compiled(self) -> list[Any]:
        """The modules that cost the time."""
        return [self.sdxl.unet, self.sdxl.vae, *self.nets, self.iclight.unet, self.iclight.vae]

    def ours(self, pictures: Sequence[Pictures]) -> list[Picture]:
        """The relit pictures, by the passes."""
        maps = [{name: one[name] for name in ("placed", "outpaint", "lines")} for one in pictures]
        first = self._run("sdxl", [self._sdxl("first", index) for index, _ in enumerate(maps)], maps)
        depths = self._run("depth", [DepthParams()] * len(maps), [{"scene": scene} for scene in first])
        second = self._run("sdxl", [self._sdxl("second", index) for index, _ in enumerate(maps)], [
            one | {"scene": scene, "depth": depth} for one, scene, depth in zip(maps, first, depths, strict=True)])
        return self._run("relight", [self._light(index) for index, _ in enumerate(maps)], [
            {"placed": one["placed"], "scene": scene} for one, scene in zip(pictures, second, strict=True)])

    def theirs(self, pictures: Sequence[Pictures]) -> list[Picture]:
        """The relit pictures, by diffusers' pipelines; pasting and depth as in ours."""
        placed = [one["placed"] for one in pictures]
        size = size_of(placed[0])
        grey = flat(size, round(127.5 * (BRIGHTNESS + 1)))
        nothing = [np.asarray(flat(size, 128))] * len(placed)
        first = self._stock("first", pictures, [over(one, grey) for one in placed], nothing)
        depths = self._run("depth", [DepthParams()] * len(placed), [{"scene": scene} for scene in first])
        second = self._stock(
            "second", pictures, [over(one, scene) for one, scene in zip(placed, first, strict=True)], depths)
        params = self._light(0)
        return stock.relight(
            self.iclight, [stages_for(params, one, scene) for one, scene in zip(placed, second, strict=True)],
            texts=encode_texts(self.iclight, [(PROMPT, NEGATIVE)]), guidance_scale=LIGHT_GUIDANCE,
            strength=params.highres_denoise, seeds=range(len(placed)))

    def finish(self, pictures: Sequence[Pictures], relit: Sequence[Picture]) -> float:
        """Seconds a picture that `mix` takes."""
        begin = perf_counter()
        self._run("mix", [MixParams(light_mix_scale=LIGHT_MIX)] * len(relit), [
            {"placed": one["placed"], "scene": flat(size_of(one["placed"]), 128), "relit": lit}
            for one, lit in zip(pictures, relit, strict=True)])
        return (perf_counter() - begin) / len(relit)

    def _prepare(self, photo: Path) -> Pictures:
        def run(name: str, params: PassParams, **given: Picture) -> Picture:
            return self._run(name, [params], [given])[0]

        size = self._scale.size
        product = run("cut_out", CutOutParams(), photo=np.asarray(Image.open(photo).convert("RGB")))
        placed = run("place", PlaceParams(width=size.width, height=size.height, object_padding=PADDING,
                                          force_center=False), product=product)
        return {"placed": placed, "outpaint": run("outpaint", OutpaintParams(hole="white"), placed=placed),
                "lines": run("lines", LinesParams(), placed=placed)}

    def _run(self, name: str, params: Sequence[PassParams], pictures: Sequence[Pictures]) -> list[Picture]:
        """A pass on each, together where the pass knows how."""
        spec, context = TABLE[name], PassContext(models=self.models, on_step=self.on_step)
        if spec.batch:
            made: list[Picture] = _function(spec.batch)(list(params), context, list(pictures))
            return made
        return [_function(spec.function)(one, context, **given) for one, given in zip(params, pictures, strict=True)]

    def _sdxl(self, which: str, seed: int) -> SdxlParams:
        asked = PASSES[which]
        return SdxlParams(
            prompt=PROMPT, negative_prompt=NEGATIVE, seed=seed, steps=self._scale.steps, strength=asked.strength,
            guidance_scale=asked.guidance, pag_scale=asked.pag, outpaint_scale=asked.scales[0],
            line_scale=asked.scales[1], depth_scale=asked.scales[2],
            brightness=BRIGHTNESS if which == "first" else None)

    def _light(self, seed: int) -> RelightParams:
        return RelightParams(prompt=PROMPT, negative_prompt=NEGATIVE, seed=seed, steps=self._scale.steps,
                             guidance_scale=LIGHT_GUIDANCE)

    def _stock(self, which: str, pictures: Sequence[Pictures], starts: Sequence[Picture],
               depths: Sequence[Picture]) -> list[Picture]:
        asked = PASSES[which]
        rendered = stock.render(
            self.sdxl, self.nets, starts=_tensor(starts), scales=asked.scales,
            maps=[_tensor([one["outpaint"] for one in pictures]), _tensor([one["lines"] for one in pictures]),
                  _tensor(depths)],
            prompts=encode_prompts(self.sdxl, [PROMPT] * len(starts), [NEGATIVE] * len(starts)),
            guidance=Guidance(scale=asked.guidance, pag_scale=asked.pag),
            length=schedule_length(self._scale.steps, asked.strength), strength=asked.strength,
            seeds=range(len(starts)))
        made = np.rint(rendered * 255).astype(np.uint8)
        return [over(one["placed"], picture) for one, picture in zip(pictures, made, strict=True)]


def job(bench: Bench) -> None:
    """The whole default job, eager, ours and stock diffusers, one picture at a time and several (eight at full size).

    Scene and light, without the CPU's prepare and mix, which `whole s` adds. Shares are of the lean arithmetic, ours.
    """
    _both(bench, Job(bench), "eager")


def job_compiled(bench: Bench) -> None:
    """The same with the nets compiled, for both."""
    made = Job(bench)
    lean = tflop_of(lambda: made.ours(made.prepared[:1]))
    compile_parts(made.compiled(), bench.scale.mode, bench.device, bench.scale.how)
    _both(bench, made, f"compiled in {bench.scale.how}, {bench.scale.mode}", lean)
    uncompile(made.compiled())


def figures_of(bench: Bench, made: Job, pictures: Sequence[Pictures], lean: float,
               run: Callable[[Sequence[Pictures]], list[Picture]]) -> tuple[Figures, list[Picture]]:
    """The times of `run` on these, held against `lean` TFLOP a picture; and what it made of them."""
    figures = with_rate(timed(lambda: run(pictures), bench.device, runs=min(3, bench.scale.runs)),
                        lean * len(pictures), bench.rate)
    relit = run(pictures)
    each, finish = figures["wall_ms"] / 1e3 / len(pictures), made.finish(pictures, relit)
    return figures | {
        "pictures": len(pictures), "each_s": each, "per_s": 1 / each, "prepare_s": made.prepare_s, "finish_s": finish,
        "built_s": made.built_s, "whole_s": each + made.prepare_s + finish}, relit


def levels_apart(relit: Sequence[Picture], others: Sequence[Picture]) -> int:
    """The largest difference, in 8-bit levels."""
    return max(int(np.abs(one.astype(int) - other).max()) for one, other in zip(relit, others, strict=True))


def _both(bench: Bench, made: Job, how: str, lean: float | None = None) -> None:
    lean = lean or tflop_of(lambda: made.ours(made.prepared[:1]))
    for count in bench.scale.pictures:
        pictures, found = made.prepared[:count], {}
        for who, run in (("ours", made.ours), ("stock", made.theirs)):
            def measure(who: str = who, run: Callable[[Sequence[Pictures]], list[Picture]] = run,
                        pictures: Sequence[Pictures] = pictures, found: dict[str, Any] = found) -> Figures:
                figures, found[who] = figures_of(bench, made, pictures, lean, run)
                apart = {"levels": levels_apart(found["stock"], found["ours"])} if len(found) == 2 else {}
                return figures | apart | {"who": who, "how": how}

            bench.case(f"{count} at a time, {who}, {how}", measure)


def _function(named: str) -> Any:
    module, _, name = named.partition(":")
    return getattr(import_module(module), name)


def _tensor(pictures: Sequence[Picture]) -> torch.Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) / 255.0
