"""What omni-bg's document asks by default (flows/omni_bg_document.py, which needs more packages than a bare machine
has; a test holds them equal)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Of an SDXL pass. scales: of outpaint, lines, depth."""

    strength: float
    guidance: float
    pag: float
    scales: tuple[float, float, float]


PASSES = {"first": Asked(strength=1.0, guidance=4.0, pag=2.0, scales=(1.0, 1.0, 0.0)),
          "second": Asked(strength=0.5, guidance=4.0, pag=1.0, scales=(1.0, 1.0, 1.0))}
LIGHT_GUIDANCE = 7.0
LIGHT_MIX = 0.5
BRIGHTNESS = 0.5
PADDING = 0.1
PROMPT = "photograph of a box on an oak table, soft light from the left"
"""Fewer than the 75 characters, a token each, of one chunk: real prompts take one chunk of words."""
NEGATIVE = ""
