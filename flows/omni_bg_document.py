"""omni-bg's job document: the 41 fields of the original's published schema.

Names, types, defaults, bounds, order and descriptions are okaris/omni-bg's. Ours on top, as validators: sides at most
4096 and 4 MP together, texts of at most 2,000 characters, finite numbers, a seed of 32 bits, a plain job_id.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field, field_validator, model_validator
from pydantic.json_schema import SkipJsonSchema

from flows.documents import JOB_ID_PATTERN, TEXT_LIMIT, ConflictError, Document
from models.params import NOISE_LEVELS, schedule_length

MULTIPLE = 32  # the VAE's factor 8 times SDXL's two further halvings
MAX_SIDE = 4096
MAX_PIXELS = 4 * 1024 * 1024

Text = Annotated[str, Field(max_length=TEXT_LIMIT)]
Unit = Annotated[float, Field(ge=0, le=1)]
Steps = Annotated[int, Field(ge=10, le=50)]
Guidance = Annotated[float, Field(ge=1, le=14)]
PagScale = Annotated[float, Field(ge=0.5, le=5)]


def round_side(side: int) -> int:
    """The nearest multiple of 32, halves up."""
    return (side + MULTIPLE // 2) // MULTIPLE * MULTIPLE


def _as_published(schema: dict[str, Any]) -> None:
    """Order as the original has it ("x-order") and as Prefect's form wants it ("position"); job_id has no default."""
    for order, field in enumerate(schema["properties"].values()):
        field["x-order"] = field["position"] = order
    schema["properties"]["job_id"].pop("default", None)


class OmniBgParams(Document):
    """What may be asked of omni-bg."""

    model_config = ConfigDict(json_schema_extra=_as_published)

    job_id: Annotated[str, Field(pattern=JOB_ID_PATTERN)] | SkipJsonSchema[None] = Field(
        default=None, description="Job ID for the model. Randomly generated if not provided")
    image: Text = Field(description="Base image for the model")
    subject: Text = Field(description="Subject of the image")
    placed_on: Text = Field(description="Where the subject is placed")
    background: Text = Field(description="Background description")
    camera_orientation: Text = Field(description="Camera orientation")
    camera_angle: Text = Field(description="Camera angle")
    main_light_direction: Text = Field(description="Main light direction")
    proposed_background: Text = Field(description="Proposed background")
    proposed_brightness: float = Field(description="Proposed brightness")
    prompt_suffix: Text = Field(
        default=",high quality, medium format, f/32, realistic, cinematic, RAW", description="Prompt suffix")
    prompt_prefix: Text = Field(
        default="photograph",
        description="Starting prompt for the model. Gets added with other variables as needed")
    negative_prompt: Text = Field(
        default="", description="Negative prompt for the model. Not necessary, but can be used to guide the model")
    override_prompt: Text = Field(
        default="", description="Override prompt for the model. Not necessary, but can be used to guide the model")
    background_brightness: float = Field(
        default=0.5, ge=-1, le=1, description="Background brightness for the model")
    force_center: bool = Field(default=False, description="Force the subject to be centered")
    seed: int = Field(default=-1, description="Random seed for the model. Leave as -1 for random seed")
    height: int = Field(
        default=768,
        description="Height of the output image. Must be divisible by 32, but this is handled automatically")
    width: int = Field(
        default=1024,
        description="Width of the output image. Must be divisible by 32, but this is handled automatically")
    final_step_upscale_4x: bool = Field(default=False, description="Final step upscale 4x for the model")
    debug_mode: bool = Field(default=False, description="Debug mode for the model")
    object_padding: Unit = Field(
        default=0.1, description="Object padding for the model. Percent of the object width")
    first_pass_steps: Steps = Field(default=10, description="Number of steps for the first pass")
    first_pass_i2i_strength: Unit = Field(
        default=1,
        description="I2I strength for the first pass. Must be 1.0 unless you feel like experimenting")
    first_pass_pag_scale: PagScale = Field(
        default=2, description="PAG scale for the first pass. 1 or 2 seem to work best")
    first_pass_guidance_scale: Guidance = Field(default=4, description="Guidance scale for the first pass")
    first_pass_outpaint_strength: Unit = Field(default=1, description="Outpaint strength for the first pass")
    first_pass_depth_strength: Unit = Field(
        default=0,
        description="Depth strength for the first pass. For the first pass we want more flexibility, so 0.0 is a good "
                    "starting point")
    first_pass_line_strength: Unit = Field(default=1, description="Line strength for the first pass")
    skip_second_pass: bool = Field(default=False, description="Skip the second pass")
    second_pass_steps: Steps = Field(default=10, description="Number of steps for the second pass")
    second_pass_i2i_strength: Unit = Field(default=0.5, description="I2I strength for the second pass")
    second_pass_pag_scale: PagScale = Field(default=1, description="PAG scale for the second pass")
    second_pass_guidance_scale: Guidance = Field(default=4, description="Guidance scale for the second pass")
    second_pass_outpaint_strength: Unit = Field(default=1, description="Outpaint strength for the second pass")
    second_pass_depth_strength: Unit = Field(
        default=1,
        description="Depth strength for the second pass. We now want to lock in the depth, so 1.0 is a good starting "
                    "point")
    second_pass_line_strength: Unit = Field(default=1, description="Line strength for the second pass")
    skip_light_pass: bool = Field(default=False, description="Skip the light pass")
    light_pass_steps: Steps = Field(
        default=10, description="Number of steps for the light pass. This is a two step process and takes 1.9x steps")
    light_pass_guidance_scale: Guidance = Field(default=7, description="Guidance scale for the light pass")
    light_mix_scale: Unit = Field(
        default=0.5, description="Mix scale for the light pass. 0.5 is a good starting point")

    @field_validator("image")
    @classmethod
    def _image_named(cls, image: str) -> str:
        if not image.strip():
            raise ValueError("names no picture: give a path or a uri")
        return image

    @field_validator("seed")
    @classmethod
    def _seed_of_32_bits(cls, seed: int) -> int:
        if not -1 <= seed < 2**32:
            raise ValueError(f"a seed is -1 (draw one) or from 0 to {2**32 - 1}")
        return seed

    @field_validator("height", "width")
    @classmethod
    def _side_in_range(cls, side: int) -> int:
        if not MULTIPLE <= side <= MAX_SIDE:
            raise ValueError(f"a side is from {MULTIPLE} to {MAX_SIDE} pixels")
        return side

    @model_validator(mode="after")
    def _area_in_range(self) -> OmniBgParams:
        height, width = round_side(self.height), round_side(self.width)
        if height * width > MAX_PIXELS:
            raise ConflictError("width x height", f"{self.width} x {self.height}",
                                f"is over the {MAX_PIXELS} pixels (4 MP) a picture may have",
                                "Ask for fewer and set final_step_upscale_4x")
        return self

    @model_validator(mode="after")
    def _schedules_in_range(self) -> OmniBgParams:
        for which in ("first", "second"):
            steps, strength = getattr(self, f"{which}_pass_steps"), getattr(self, f"{which}_pass_i2i_strength")
            if strength > 0 and schedule_length(steps, strength) > NOISE_LEVELS:
                raise ConflictError(
                    f"{which}_pass_i2i_strength", strength,
                    f"with {which}_pass_steps={steps} would be the end of a schedule of "
                    f"{schedule_length(steps, strength)} steps, and there are {NOISE_LEVELS} noise levels",
                    f"Allowed: 0, or at least {steps / NOISE_LEVELS:g} with so many steps")
        return self
