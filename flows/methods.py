"""How passes work where there are several ways and the document does not ask: what the house has chosen."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from models.params import Matting, Spacing
from storage.errors import SettingsError
from storage.settings import Settings
from tasks.profiles import MattingWeights


class Methods(BaseModel):
    """Part of the resolved document, so that a job resumed under other settings makes the same picture.

    The defaults say what documents resolved before a field was there have meant.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    spacing: Spacing = Field(default="karras", description="Noise levels of the sdxl passes")
    matting: Matting = Field(default="classical", description="How cut_out mattes a photo without alpha or mask")


def chosen(settings: Settings, weights: MattingWeights) -> Methods:
    """weights: what the job's profile has for matting. Raises SettingsError where what was chosen cannot be."""
    return Methods(spacing=settings.spacing, matting=_matting(settings, weights))


def _matting(settings: Settings, weights: MattingWeights) -> Matting:
    """`auto` never takes toy weights: what they see is no product."""
    if settings.matting == "neural" and weights == "none":
        raise SettingsError("BACKLOT_MATTING", "neural", "the profile's matting weights are not here",
                            "Fetch what `backlot weights list` shows as missing and pin it, or set auto or classical")
    if settings.matting == "auto":
        return "neural" if weights == "real" else "classical"
    return settings.matting
