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
    order: str
    """The order of its passes, a function (resolved, profile, photo, runner) -> the final picture."""
    resolved: str
    """The model of its resolved document."""
    places: tuple[str, ...]
    """Names of passes within a job that are not the pass's own: two of omni-bg's are the same pass."""

    def load(self) -> Any:
        """The Prefect flow; imports Prefect, not torch."""
        return _named(self.flow)

    def load_order(self) -> tuple[Any, Any]:
        """The order of the passes and the model of the resolved document; imports Prefect, not torch."""
        return _named(self.order), _named(self.resolved)


def _named(where: str) -> Any:
    module, _, name = where.partition(":")
    return getattr(import_module(module), name)


PIPELINES: Mapping[str, Pipeline] = {pipeline.name: pipeline for pipeline in (
    Pipeline(name="omni-bg", title="New scene around a product: cut out, two SDXL passes, relight, mix, upscale",
             document=OmniBgParams, flow="flows.omni_bg:omni_bg", order="flows.omni_bg:order",
             resolved="flows.omni_bg_resolve:ResolvedOmniBg",
             places=("first_depth", "first", "second_depth", "second", "placed_large")),
)}


def pipeline(name: str) -> Pipeline:
    if name not in PIPELINES:
        close = difflib.get_close_matches(name, PIPELINES, n=1)
        hint = f"Did you mean {close[0]}?" if close else f"Known: {', '.join(PIPELINES)}"
        raise refused("PIPELINE", name, "is not a pipeline", hint)
    return PIPELINES[name]
