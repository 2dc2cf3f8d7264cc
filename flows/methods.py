"""How passes work where there are several ways and the document does not ask: what the house has chosen."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from models.params import LineDetector, LinesParams, PassParams, Spacing
from storage.settings import Settings


class Methods(BaseModel):
    """Part of the resolved document, so that a job resumed under other settings makes the same picture.

    The defaults say what documents resolved before a field was there have meant.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    spacing: Spacing = Field(default="karras", description="Noise levels of the sdxl passes")
    lines: LineDetector = Field(default="canny", description="Line detector of the pass lines")

    def may_need_weights(self) -> dict[str, PassParams]:
        """Parameters of the passes whose weights depend on the way chosen, by the pass's name."""
        return {"lines": LinesParams(detector=self.lines)}


def chosen(settings: Settings) -> Methods:
    return Methods(spacing=settings.spacing, lines=settings.lines)
