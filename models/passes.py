"""The pass table: every pass by name, with its version, its function (as a string, so that reading the table loads no
torch), the roles it takes, the weights it needs and the pictures it returns.

A pass function has the signature `f(params, context, *, role: Picture, ...) -> Picture`: roles arrive as keyword
arguments of the same name. Its version is raised whenever its pixels change; a test holds reference pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

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
    UpscaleParams,
)


@dataclass(kw_only=True)
class PassContext:
    """What a running pass may touch besides its pictures: leased models and a progress callback.

    models: weight role -> loaded object. on_step(done, total) is called after each model call; it may raise to cancel.
    model_calls counts them (one denoiser evaluation of a whole batch is one call) and is recorded in lineage.
    """

    models: Mapping[str, Any] = field(default_factory=dict)
    on_step: Callable[[int, int], None] = lambda done, total: None
    model_calls: int = 0
    notes: list[str] = field(default_factory=list)
    """Things a user should be told of this run (a fallback taken, say); stored with the job's pass."""

    def called(self, total: int) -> None:
        """Count one model call out of `total` planned ones."""
        self.model_calls += 1
        self.on_step(self.model_calls, total)


def no_weights(params: Any, roles: Collection[str]) -> tuple[str, ...]:
    return ()


class Choice(NamedTuple):
    """A setting of the house and the parameter it decides; its name is the setting's without BACKLOT_. idle_for: the
    jobs whose pictures are the same by every way; the door asks for the weights before it knows them."""

    setting: str
    parameter: str
    idle_for: str


@dataclass(frozen=True, kw_only=True)
class PassSpec:
    """One row of the table. needs(params, given roles) names the weight roles this very request reads."""

    name: str
    version: int
    function: str
    params: type[PassParams]
    roles: tuple[str, ...]
    optional_roles: tuple[str, ...] = ()
    output: str
    needs: Callable[[Any, Collection[str]], tuple[str, ...]] = no_weights
    batch: str | None = None
    """Function of several requests at once, g(list of params, context, list of {role: Picture}) -> list of Pictures;
    each as f would make it. They share weights, sizes and all parameters but `params.own`."""
    optional_weights: tuple[str, ...] = ()
    """Weight roles the pass can do without, where the profile has none."""
    chosen_weights: Mapping[str, Choice] = field(default_factory=dict)
    """Weight roles that only one way of the pass needs: their files need not be there until a setting chooses it."""


def _sdxl_needs(params: SdxlParams, roles: Collection[str]) -> tuple[str, ...]:
    if params.strength == 0:
        return ()  # the start is returned as it is
    nets = (("outpaint", "controlnet_outpaint"), ("lines", "controlnet_lines"), ("depth", "controlnet_depth"))
    return ("sdxl", *(weights for role, weights in nets if role in roles))


def _cut_out_needs(params: CutOutParams, roles: Collection[str]) -> tuple[str, ...]:
    return ("matting",) if params.backend == "neural" and "mask" not in roles else ()


def _lines_needs(params: LinesParams, roles: Collection[str]) -> tuple[str, ...]:
    return ("lines",) if params.detector == "teed" else ()


PASSES: Mapping[str, PassSpec] = {spec.name: spec for spec in (
    PassSpec(name="cut_out", version=1, function="models.cut_out:cut_out", params=CutOutParams,
             roles=("photo",), optional_roles=("mask",), output="product", needs=_cut_out_needs,
             chosen_weights={"matting": Choice(
                 setting="matting", parameter="backend", idle_for="a photo with a mask")}),
    PassSpec(name="place", version=1, function="models.place:place", params=PlaceParams,
             roles=("product",), output="placed"),
    PassSpec(name="outpaint", version=1, function="models.control_maps:outpaint", params=OutpaintParams,
             roles=("placed",), output="outpaint"),
    PassSpec(name="lines", version=1, function="models.control_maps:lines", params=LinesParams,
             roles=("placed",), output="lines", needs=_lines_needs,
             chosen_weights={"lines": Choice(
                 setting="lines", parameter="detector", idle_for="a job whose line strengths are 0")}),
    PassSpec(name="depth", version=1, function="models.control_maps:depth", params=DepthParams,
             roles=(), optional_roles=("placed", "scene"), output="depth", needs=lambda params, roles: ("depth",)),
    PassSpec(name="sdxl", version=1, function="models.sdxl.render:sdxl", params=SdxlParams,
             roles=("placed",), optional_roles=("scene", "outpaint", "lines", "depth"), output="scene",
             needs=_sdxl_needs, batch="models.sdxl.render:sdxl_batch"),
    PassSpec(name="relight", version=1, function="models.relight:relight", params=RelightParams,
             roles=("placed", "scene"), output="relit", needs=lambda params, roles: ("iclight_fbc",),
             batch="models.relight:relight_batch"),
    PassSpec(name="mix", version=3, function="models.mix:mix", params=MixParams,
             roles=("placed", "scene", "relit"), output="lit"),
    PassSpec(name="upscale", version=3, function="models.upscale:upscale", params=UpscaleParams,
             roles=("placed", "lit", "product", "placed_large"), optional_roles=("scene", "relit"), output="final",
             needs=lambda params, roles: ("upscaler",),
             optional_weights=("upscaler",)),
)}
