"""What flows may know of a weights profile: plain facts, no weights, no torch."""

from __future__ import annotations

from typing import Literal

from models.weights import PROFILES, profile
from tasks.services import services


def names() -> tuple[str, ...]:
    return tuple(PROFILES)


def min_side(name: str) -> int:
    """The shortest picture side in pixels that the profile's models accept."""
    return profile(name).min_side


def outpaint_hole(name: str) -> Literal["white", "black"]:
    """The colour of "invent this" that the profile's outpaint ControlNet was trained on."""
    return profile(name).outpaint_hole


def has_real_matting(name: str) -> bool:
    """Does a real matting network of the profile lie here? Reads no weights. Raises WeightsError where other files of
    the profile are missing."""
    model = services().pinned(name).get("matting")
    return model is not None and model.spec.source == "files"


def notice(name: str) -> str:
    """What must be said wherever the profile's pictures are shown; empty for real weights."""
    return profile(name).notice
