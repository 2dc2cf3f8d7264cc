"""The pipelines by name: their job document, and where their flow is (as a string: naming one loads no Prefect)."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from flows.documents import Document, refused
from flows.omni_bg_document import OmniBgParams


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    name: str
    title: str
    document: type[Document]
    flow: str
    places: tuple[str, ...]
    """Names of passes within a job that are not the pass's own: two of omni-bg's are the same pass."""

    def load(self) -> Any:
        """The Prefect flow; imports Prefect, not torch."""
        module, _, name = self.flow.partition(":")
        return getattr(import_module(module), name)


PIPELINES: Mapping[str, Pipeline] = {pipeline.name: pipeline for pipeline in (
    Pipeline(name="omni-bg", title="New scene around a product: cut out, two SDXL passes, relight, mix, upscale",
             document=OmniBgParams, flow="flows.omni_bg:omni_bg",
             places=("first_depth", "first", "second_depth", "second", "placed_large")),
)}


def pipeline(name: str) -> Pipeline:
    if name not in PIPELINES:
        close = difflib.get_close_matches(name, PIPELINES, n=1)
        hint = f"Did you mean {close[0]}?" if close else f"Known: {', '.join(PIPELINES)}"
        raise refused("PIPELINE", name, "is not a pipeline", hint)
    return PIPELINES[name]
