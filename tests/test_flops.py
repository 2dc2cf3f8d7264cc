"""What the loop saves, counted on the real models' shapes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def flops() -> Any:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import flops
    finally:
        sys.path.remove(str(BENCHMARKS))
    return flops


def test_the_shapes_are_the_published_models(flops: Any) -> None:
    """spec/performance.md 2, in millions: the counts of the released files."""
    held = flops.models()
    counted = {name: round(flops.parameters(module) / 1e6) for name, module in (
        ("unet", held["unet"]), ("net", held["nets"][0]), ("vae", held["vae"]), ("iclight", held["iclight"]))}
    assert counted == {"unet": 2567, "net": 1251, "vae": 84, "iclight": 860}


def test_the_sdxl_passes_do_28_percent_less_and_the_job_24(flops: Any) -> None:
    before, after, light = flops.passes(flops.stock), flops.passes(flops.ours), flops.light()
    assert before == pytest.approx(716.9, rel=0.01)
    assert 1 - after / before >= 0.28
    others = 5.0  # depth by a large model, and text; the same on both sides
    assert 1 - (after + light + others) / (before + light + others) >= 0.24


def test_without_savings_the_loop_does_what_diffusers_does(flops: Any) -> None:
    for scales in flops.PASSES.values():
        assert flops.ours(scales, flops.NONE) == pytest.approx(flops.stock(scales), rel=0.001)
