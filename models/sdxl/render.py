"""The pass `sdxl`: a scene invented around the placed product, or a given scene rendered again. Used twice in omni-bg.

The product is pasted back at the end: diffusion never repaints it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from math import ceil

import numpy as np
import torch
from diffusers import ControlNetUnionModel

from models.components import SdxlComponents
from models.errors import InputError
from models.params import NOISE_LEVELS, SdxlParams, schedule_length
from models.passes import PassContext
from models.pictures import Picture, Size, flat, over, size_of
from models.sdxl.controls import Control, Steering
from models.sdxl.decode import decode
from models.sdxl.denoise import denoise
from models.sdxl.encode import encode
from models.sdxl.guidance import Guidance
from models.sdxl.schedule import Schedule, generators
from models.sdxl.text import chunks, encode_prompts
from models.sdxl.union import KINDS, UnionControl

SIDES = 32
"""Sides are multiples of it: the VAE's factor 8 times the UNet's two halvings (spec/omni-bg.md 1.5 S0)."""

UNION_KINDS = {"outpaint": KINDS["repaint"], "lines": KINDS["line"], "depth": KINDS["depth"]}
"""What a control map is to a ControlNet-Union."""


def sdxl(params: SdxlParams, context: PassContext, *, placed: Picture, scene: Picture | None = None,
         outpaint: Picture | None = None, lines: Picture | None = None, depth: Picture | None = None) -> Picture:
    """RGB of placed's size: the new scene, with the product over it (where its alpha is 255, placed's own bytes).

    placed: the product, RGBA, sides multiples of 32. It starts from `scene` with the product pasted on or, without one,
    from the product before a flat grey of params.brightness; exactly one of the two is given. outpaint, lines, depth:
    control maps, RGB of the same size, each needed where its scale is above 0; a net of scale 0 is not run.

    Makes exactly params.steps model calls, whatever the strength; strength 0 makes none and returns the start. All
    weights of role "sdxl" share one device and dtype. Raises InputError for sides that are no multiples of 32 and for a
    strength too small for so many steps, ValueError for inputs that contradict one another.
    """
    given = {"placed": placed, "scene": scene, "outpaint": outpaint, "lines": lines, "depth": depth}
    [made] = sdxl_batch([params], context, [{role: one for role, one in given.items() if one is not None}])
    return made


def sdxl_batch(params: Sequence[SdxlParams], context: PassContext, pictures: Sequence[Mapping[str, Picture]],
               ) -> list[Picture]:
    """`sdxl` for several pictures at once; each comes out as it would alone, but for rounding (within 1e-5 of its
    latents in float32). pictures: role -> picture, for each of `params`. Raises ValueError unless they share their
    roles, their size and all parameters but prompts, seed and brightness."""
    if len({_kind(one, given) for one, given in zip(params, pictures, strict=True)}) != 1:
        raise ValueError("these pictures cannot share a batch: they differ in more than prompts, seed and brightness")
    starts = [_start(one, given) for one, given in zip(params, pictures, strict=True)]
    if params[0].strength == 0:
        return [given.get("scene", start) for given, start in zip(pictures, starts, strict=True)]
    for role, scale in _scales(params[0]).items():
        if scale > 0 and role not in pictures[0]:
            raise ValueError(f"{role} is missing and its scale is {scale}: give the map, or the scale 0")
    with torch.inference_mode():
        made = _by_chunks(params, context, pictures, starts)
    return [over(given["placed"], one) for given, one in zip(pictures, made, strict=True)]


def _kind(params: SdxlParams, pictures: Mapping[str, Picture]) -> Hashable:
    return frozenset(pictures), size_of(pictures["placed"]), params.shared()


def checked_length(steps: int, strength: float) -> int:
    """The schedule's length. Raises InputError above 1,000, the number of noise levels."""
    length = schedule_length(steps, strength)
    if length > NOISE_LEVELS:
        raise InputError(
            f"steps={steps} at this strength are the last part of a schedule of {length}, and there are only "
            f"{NOISE_LEVELS} noise levels", field="strength", value=strength,
            remedy=f"Use a strength of at least {steps / NOISE_LEVELS:g}, or fewer steps; strength 0 keeps the start")
    return length


def _start(params: SdxlParams, pictures: Mapping[str, Picture]) -> Picture:
    """The picture to be noised. Its grey tells even at strength 1: the last noise level keeps 0.068 of the signal, so
    it is the brightness control (spec/omni-bg.md 1.5 S3, reading A: grey 127.5 (brightness + 1))."""
    placed, scene = pictures["placed"], pictures.get("scene")
    _check(size_of(placed), pictures)
    if scene is not None and params.brightness is None:
        return over(placed, scene)
    if scene is None and params.brightness is not None:
        return over(placed, flat(size_of(placed), round(127.5 * (params.brightness + 1))))
    raise ValueError(f"give exactly one of scene and brightness: scene is {'missing' if scene is None else 'given'}, "
                     f"brightness={params.brightness}")


def _check(size: Size, pictures: Mapping[str, Picture]) -> None:
    for side, pixels in size._asdict().items():
        if pixels % SIDES:
            raise InputError(f"not a multiple of {SIDES}", field=side, value=pixels,
                             remedy=f"Use {ceil(pixels / SIDES) * SIDES}")
    for role, picture in pictures.items():
        if role != "placed" and picture.shape != (*size, 3):
            raise ValueError(f"{role} has shape {picture.shape}; placed needs RGB of {size.height} x {size.width}")


def _scales(params: SdxlParams) -> dict[str, float]:
    """Role of a control map -> its ControlNet's scale."""
    return {"outpaint": params.outpaint_scale, "lines": params.line_scale, "depth": params.depth_scale}


def _by_chunks(params: Sequence[SdxlParams], context: PassContext, pictures: Sequence[Mapping[str, Picture]],
               starts: Sequence[Picture]) -> list[Picture]:
    """One run for those whose prompts take as many chunks: filled up with empty ones they would come out otherwise."""
    weights: SdxlComponents = context.models["sdxl"]
    groups: dict[int, list[int]] = {}
    for index, one in enumerate(params):
        groups.setdefault(chunks(weights, one.prompt, one.negative_prompt), []).append(index)
    calls = len(groups) * params[0].steps
    made: dict[int, Picture] = {}
    for group in groups.values():
        rendered = _render([params[index] for index in group], context, [pictures[index] for index in group],
                           [starts[index] for index in group], lambda: context.called(calls))
        made.update(zip(group, rendered, strict=True))
    return [made[index] for index in range(len(params))]


def _render(params: Sequence[SdxlParams], context: PassContext, pictures: Sequence[Mapping[str, Picture]],
            starts: Sequence[Picture], called: Callable[[], None]) -> list[Picture]:
    weights: SdxlComponents = context.models["sdxl"]
    shared = params[0]
    prompts = encode_prompts(weights, [one.prompt for one in params], [one.negative_prompt for one in params])
    drawn = generators([one.seed for one in params])
    schedule = Schedule(shared.steps, checked_length(shared.steps, shared.strength), drawn,
                        shared.spacing)
    latents = denoise(
        weights.unet, schedule.noised(encode(weights.vae, _tensor(starts), drawn)), prompts=prompts,
        controls=_controls(shared, context, pictures),
        guidance=Guidance(scale=shared.guidance_scale, pag_scale=shared.pag_scale), schedule=schedule, called=called)
    return decode(weights.vae, latents)


def _controls(shared: SdxlParams, context: PassContext, pictures: Sequence[Mapping[str, Picture]]) -> list[Steering]:
    """The nets to run. Roles that a ControlNet-Union serves are one net with several maps."""
    given = [(role, context.models[f"controlnet_{role}"], _tensor([one[role] for one in pictures]), scale)
             for role, scale in _scales(shared).items() if scale > 0]
    of_union = [one for one in given if isinstance(one[1], ControlNetUnionModel)]
    controls: list[Steering] = [Control(net, maps, scale) for role, net, maps, scale in given
                                if not isinstance(net, ControlNetUnionModel)]
    if of_union:
        roles, nets, maps, scales = zip(*of_union, strict=True)
        controls.append(UnionControl(nets[0], maps, [UNION_KINDS[role] for role in roles], scales))
    return controls


def _tensor(pictures: Sequence[Picture]) -> torch.Tensor:
    """(pictures, 3, height, width) in 0..1, float32, on the CPU."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) / 255.0
