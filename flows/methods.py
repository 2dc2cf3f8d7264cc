"""How passes work where there are several ways and the document does not ask: what the house has chosen."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from models.params import CutOutParams, LineDetector, LinesParams, Matting, PassParams, Spacing
from storage.settings import Settings


class Methods(BaseModel):
    """Part of the resolved document, so that a job resumed under other settings makes the same picture.

    The defaults say what documents resolved before a field was there have meant.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    spacing: Spacing = Field(default="karras", description="Noise levels of the sdxl passes")
    lines: LineDetector = Field(default="canny", description="Line detector of the pass lines")
    matting: Matting = Field(default="classical", description="How cut_out mattes a photo without alpha or mask")

    def may_need_weights(self) -> dict[str, PassParams]:
        """Parameters of the passes whose weights depend on the way chosen, by the pass's name."""
        return {"lines": LinesParams(detector=self.lines), "cut_out": CutOutParams(backend=self.matting)}


def chosen(settings: Settings, *, real_matting: bool = False) -> Methods:
    """real_matting: does the job's profile have a real matting network here? `auto` takes no toy: what one sees is no
    product."""
    matting = settings.matting
    if matting == "auto":
        matting = "neural" if real_matting else "classical"
    return Methods(spacing=settings.spacing, lines=settings.lines, matting=matting)
