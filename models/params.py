"""The parameters of every pass: each model holds exactly what its pass reads, because it all enters the cache key.

Plain data: importing this module loads no torch, so flows and documents may read it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from fractions import Fraction
from math import ceil
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

Matting = Literal["classical", "neural"]
"""How a photo without its own alpha is matted: by its backdrop and GrabCut, or by the profile's matting network."""

NOISE_LEVELS = 1000
"""Levels that SDXL and SD 1.5 were trained on (their scheduler configs, num_train_timesteps): the longest schedule."""

Spacing = Literal["karras", "ays"]
"""How the noise levels of a schedule are spaced: Karras et al. 2022, or Align Your Steps (Sabour et al. 2024)."""


LineDetector = Literal["canny", "canny_fixed", "lineart_standard", "teed"]
"""How a product's lines are found: by our Canny, whose thresholds follow the product, or by one of controlnet-aux's
detectors: its Canny with fixed thresholds, its Gaussian difference, its network TEED."""


def schedule_length(steps: int, strength: float) -> int:
    """How long a noise schedule must be for its last `steps` to be its share `strength` (> 0): ceil(steps / strength).

    Divided as the decimals that were written: as floats, 7 / 0.07 is a little over 100 and would give 101.
    """
    return ceil(steps / Fraction(repr(strength)))


class PassParams(BaseModel):
    """Base of all pass parameters: frozen, closed, finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    added_later: ClassVar[Mapping[str, object]] = {}
    """Fields added after the pass was first used, with the value that reproduces the old behaviour.

    Such a field enters the key only where it differs from that value, so old results stay reusable.
    """

    own: ClassVar[tuple[str, ...]] = ()
    """Fields that pictures of one batch may differ in."""

    def shared(self) -> Hashable:
        """Equal for parameters that differ in their `own` fields only."""
        return tuple(value for name, value in self if name not in self.own)

    def key_parts(self) -> dict[str, Any]:
        """What of these parameters enters the cache key, as plain JSON values."""
        parts = self.model_dump(mode="json")
        return {name: value for name, value in parts.items()
                if name not in self.added_later or value != self.added_later[name]}


class CutOutParams(PassParams):
    backend: Matting = Field(
        default="classical",
        description="How a photo without its own alpha is matted; real alpha or a mask is used as it is")


class PlaceParams(PassParams):
    width: int = Field(ge=32, description="Canvas width in pixels")
    height: int = Field(ge=32, description="Canvas height in pixels")
    object_padding: float = Field(ge=0, le=1, description="Padding on every side, as a share of the object's width")
    force_center: bool = Field(description="Centre the padded object; else keep its relative position in the photo")


class OutpaintParams(PassParams):
    hole: Literal["white", "black"] = Field(description="Colour of the region to invent, as the ControlNet was trained")


class LinesParams(PassParams):
    detector: LineDetector = Field(default="canny", description="Line detector, run on the product only")


class DepthParams(PassParams):
    """Nothing to choose: the estimator is a model, and its weights are in the key."""


class SdxlParams(PassParams):
    own = ("prompt", "negative_prompt", "seed", "brightness")
    added_later = {"spacing": "karras"}

    prompt: str = Field(description="Composed prompt, encoded in 75-token chunks without a cut")
    negative_prompt: str = Field(description="Negative prompt; empty text is encoded as empty text")
    seed: int = Field(ge=0, lt=2**32, description="Seed of this pass, derived from the job's")
    steps: int = Field(ge=1, le=1000, description="Steps executed, whatever the strength")
    strength: float = Field(ge=0, le=1, description="Share of the noise schedule to run; 0 returns the input")
    guidance_scale: float = Field(ge=1, description="Classifier-free guidance")
    pag_scale: float = Field(ge=0, description="Perturbed-attention guidance")
    outpaint_scale: float = Field(ge=0, le=1, description="ControlNet scale; 0 leaves the net out")
    depth_scale: float = Field(ge=0, le=1, description="ControlNet scale; 0 leaves the net out")
    line_scale: float = Field(ge=0, le=1, description="ControlNet scale; 0 leaves the net out")
    brightness: float | None = Field(
        default=None, ge=-1, le=1,
        description="Flat background of the start picture, -1 black to 1 white; None where a scene is given")
    spacing: Spacing = Field(default="karras", description="How the noise levels are spaced: karras or ays")


class RelightParams(PassParams):
    own = ("prompt", "negative_prompt", "seed")

    prompt: str = Field(description="What the lit picture shows")
    negative_prompt: str = Field(description="What it should not show")
    seed: int = Field(ge=0, lt=2**32, description="Seed of this pass, derived from the job's")
    steps: int = Field(ge=1, le=1000, description="Steps of stage 1; stage 2 runs floor(highres_denoise x steps)")
    guidance_scale: float = Field(ge=1, description="Classifier-free guidance")
    highres_denoise: float = Field(default=0.9, gt=0, le=1, description="Strength of stage 2")


class MixParams(PassParams):
    light_mix_scale: float = Field(ge=0, le=1, description="Exponent of the relight gain; 0 keeps the unlit picture")


class UpscaleParams(PassParams):
    factor: Literal[4] = Field(default=4, description="Magnification")
    light_mix_scale: float = Field(default=0, ge=0, le=1, description="Of the mix that made the picture; 0: no light")
