"""How passes work where there are several ways and the document does not ask: what the house has chosen."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from models.params import Spacing
from storage.settings import Settings


class Methods(BaseModel):
    """Part of the resolved document, so that a job resumed under other settings makes the same picture.

    The defaults say what documents resolved before a field was there have meant.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    spacing: Spacing = Field(default="karras", description="Noise levels of the sdxl passes")


def chosen(settings: Settings) -> Methods:
    return Methods(spacing=settings.spacing)
