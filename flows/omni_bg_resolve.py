"""From the requested omni-bg document to the one that runs: seed drawn, sizes rounded, brightness and prompt settled.

Resolving happens once a job. Every decision is kept beside the values, so that a reader of the stored document sees
what was asked, what ran and why. The rules are the project's own reading of the original's schema (docs/omni-bg.md).
"""

from __future__ import annotations

import secrets
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from flows.documents import Decision, derive_seed, refused
from flows.methods import Methods
from flows.omni_bg_document import MULTIPLE, OmniBgParams, round_side

SCHEMA_VERSION = 1
LIGHT_ADDED_PROMPT = "best quality"  # IC-Light's own additions: gradio_demo_bg.py at bcf3f29
LIGHT_NEGATIVE_PROMPT = "lowres, bad anatomy, bad hands, cropped, worst quality"


class ResolvedOmniBg(BaseModel):
    """What will run. `document` has no -1, no unrounded size and no choice left in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    document: OmniBgParams
    prompt: str
    light_prompt: str
    light_negative_prompt: str
    first_seed: int
    second_seed: int
    light_seed: int
    decisions: tuple[Decision, ...]
    methods: Methods = Methods()


def resolve(requested: OmniBgParams, *, min_side: int, methods: Methods) -> ResolvedOmniBg:
    """Settle everything the document leaves open.

    min_side: the shortest side the weights accept (64 for tiny, 256 for SDXL); DocumentError below it. methods:
    what the house chose.
    """
    decisions: list[Decision] = []

    def decide(field: str, resolved: Any, why: str) -> Any:
        decisions.append(Decision(field=field, requested=getattr(requested, field), resolved=resolved, why=why))
        return resolved

    changes: dict[str, Any] = {}
    for field in ("height", "width"):
        asked = getattr(requested, field)
        side = round_side(asked)
        if side < min_side:
            raise refused(field, asked, f"is below the {min_side} pixels these weights need",
                          f"Allowed: {min_side} to 4096, or the tiny profile for smaller pictures")
        if side != asked:
            changes[field] = decide(field, side, f"rounded to the nearest multiple of {MULTIPLE}")
    if requested.seed == -1:
        changes["seed"] = decide("seed", secrets.randbelow(2**32), "-1 draws a seed, once a job")
    if requested.background_brightness == 0.5 and requested.proposed_brightness != 0.5:
        changes["background_brightness"] = decide(
            "background_brightness", min(1.0, max(-1.0, requested.proposed_brightness)),
            "0.5 is the default and counts as not chosen, so proposed_brightness decides, clamped to -1..1")
    if not requested.background.strip() and requested.proposed_background.strip():
        changes["background"] = decide(
            "background", requested.proposed_background, "background is blank, so proposed_background counts")

    document = requested.model_copy(update=changes)
    if document.override_prompt.strip():
        prompt = light_prompt = decide(
            "override_prompt", document.override_prompt, "replaces the composed prompt; nothing is added to it")
    else:
        prompt = compose_prompt(document)
        light_prompt = f"{prompt}, {LIGHT_ADDED_PROMPT}"
    light_negative = document.negative_prompt
    if not light_negative.strip():
        light_negative = decide("negative_prompt", LIGHT_NEGATIVE_PROMPT, "blank: the light pass uses IC-Light's own")
    return ResolvedOmniBg(
        document=document, prompt=prompt, light_prompt=light_prompt, light_negative_prompt=light_negative,
        first_seed=derive_seed(document.seed, "first"), second_seed=derive_seed(document.seed, "second"),
        light_seed=derive_seed(document.seed, "light"), decisions=tuple(decisions), methods=methods)


def compose_prompt(document: OmniBgParams) -> str:
    """photograph of {subject} placed on {placed_on}, {background}, {orientation}, {angle}, {light}{suffix}.

    Empty parts vanish with their connectives. The suffix follows without a separator: its default begins with a comma.
    """
    prefix, subject = document.prompt_prefix.strip(), document.subject.strip()
    opening = f"{prefix} of {subject}" if prefix and subject else prefix or subject
    if document.placed_on.strip():
        opening = f"{opening} placed on {document.placed_on.strip()}".strip()
    parts = (opening, document.background, document.camera_orientation, document.camera_angle,
             document.main_light_direction)
    return ", ".join(part.strip() for part in parts if part.strip()) + document.prompt_suffix
