"""The pass `relight`: the product in its scene as IC-Light would light it, in two stages.

Only the light of the result is of use (models.mix takes it): label and texture went through a VAE and are not ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import floor, sqrt

import numpy as np
from PIL import Image

from models.errors import InputError
from models.iclight import Request, Stage, run_together
from models.params import RelightParams
from models.passes import PassContext
from models.pictures import Picture, Size, flat, over, size_of

SIDES = 64
"""Sides are multiples of it: the VAE's factor 8 times the UNet's three halvings (spec/omni-bg.md 1.5 S0)."""

FIRST_STAGE_AREA = 300_000
"""Pixels at most where stage 1 starts from noise: SD 1.5 was trained at 512 x 512 and repeats itself in larger pictures
(spec/omni-bg.md 2.15)."""

UNLIT = 127
"""Grey around the product: the VAE's input 0 (lllyasviel/IC-Light bcf3f29). Black gives dark results (spec 2.12)."""


def relight(params: RelightParams, context: PassContext, *, placed: Picture, scene: Picture) -> Picture:
    """The relit picture, RGB of placed's size.

    placed: the product, RGBA; scene: RGB of the same size, what it is to be lit by. Any sides: they are padded by
    reflection to multiples of 64 and cropped back. Makes params.steps model calls at about half the size and then
    floor(params.highres_denoise x params.steps) at the full one. Reads context.models["iclight_fbc"]. Raises InputError
    where the two sizes differ.
    """
    [made] = relight_batch([params], context, [{"placed": placed, "scene": scene}])
    return made


def relight_batch(params: Sequence[RelightParams], context: PassContext, pictures: Sequence[Mapping[str, Picture]],
                  ) -> list[Picture]:
    """`relight` for several pictures at once, with the model calls of one; each comes out as it would alone, but for
    rounding (see models.iclight.run_together). pictures: role -> picture, for each of `params`. Raises ValueError
    unless they share their size and all parameters but prompts and seed."""
    if len({(size_of(given["placed"]), one.shared()) for one, given in zip(params, pictures, strict=True)}) != 1:
        raise ValueError("these pictures cannot share a batch: they differ in more than prompts and seed")
    requests = [Request(prompt=one.prompt, negative_prompt=one.negative_prompt, guidance_scale=one.guidance_scale,
                        seed=one.seed) for one in params]
    stages = [stages_for(params[0], given["placed"], given["scene"]) for given in pictures]
    total = sum(stage.executed for stage in stages[0])
    relit = run_together(context.models["iclight_fbc"], requests, stages, lambda: context.called(total))
    size = size_of(pictures[0]["placed"])
    return [_cropped(np.asarray(np.rint(one[0] * 255), dtype=np.uint8), size) for one in relit]


def stages_for(params: RelightParams, placed: Picture, scene: Picture) -> tuple[Stage, Stage]:
    """From noise at the small size, then at the padded one. Both show the product on grey and the scene, aligned.

    Raises InputError where the two pictures' sizes differ.
    """
    size = size_of(placed)
    if size_of(scene) != size:
        raise InputError(f"its size is not the placed product's, {size.width} x {size.height}", field="scene",
                         value=f"{scene.shape[1]} x {scene.shape[0]}", remedy="Give a scene made for this placement")
    full = tuple(padded(picture) for picture in (over(placed, flat(size, UNLIT)), scene))
    small = tuple(_resized(picture, first_stage_size(size_of(picture))) for picture in full)
    # Of the decimals that were written: as floats 0.29 x 100 is below 29.
    again = floor(Fraction(repr(params.highres_denoise)) * params.steps)
    # Not lengthened to a schedule of steps / denoise as in the demo: "takes 1.9x steps" is the promise (spec 1.7).
    return (Stage(conditions=small, scheduled=params.steps, executed=params.steps),
            Stage(conditions=full, scheduled=params.steps, executed=again))


def first_stage_size(full: Size) -> Size:
    """About half of `full`, less where that is over FIRST_STAGE_AREA; multiples of 64, at least 64."""
    scale = min(0.5, sqrt(FIRST_STAGE_AREA / (full.height * full.width)))
    return Size(*(max(SIDES, round(side * scale / SIDES) * SIDES) for side in full))


def padded(picture: Picture) -> Picture:
    """Reflected on all sides to multiples of 64, evenly, so that as little as possible is invented at any one side."""
    before, after = _margins(size_of(picture))
    return np.pad(picture, (*zip(before, after, strict=True), (0, 0)), mode="reflect")


def _cropped(picture: Picture, size: Size) -> Picture:
    (top, left), _ = _margins(size)
    return picture[top:top + size.height, left:left + size.width]


def _margins(size: Size) -> tuple[Size, Size]:
    """Pixels to add before (top, left) and after (bottom, right)."""
    missing = [-side % SIDES for side in size]
    return Size(*(pixels // 2 for pixels in missing)), Size(*(pixels - pixels // 2 for pixels in missing))


def _resized(picture: Picture, size: Size) -> Picture:
    """Plainly, though the shape may change a little: a crop would move the stages against one another."""
    return np.asarray(Image.fromarray(picture).resize((size.width, size.height), Image.Resampling.LANCZOS))
