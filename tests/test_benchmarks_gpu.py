"""The GPU benchmark where there is none: it writes its page, outlives what fails, and keeps to its budget."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))

from benchmarks.gpu import __main__ as command  # noqa: E402
from benchmarks.gpu import fp8, job, setting  # noqa: E402
from benchmarks.gpu.bench import TINY, Bench, Lines, Record  # noqa: E402
from benchmarks.gpu.defaults import BRIGHTNESS, LIGHT_GUIDANCE, LIGHT_MIX, NEGATIVE, PADDING, PASSES  # noqa: E402
from benchmarks.gpu.page import page  # noqa: E402
from benchmarks.gpu.timing import Figures, tflop_of, with_rate  # noqa: E402
from models.compiled import Compiler  # noqa: E402

PARTS = {"one": "The first.", "two": "The second.", "job": "The job.", "job-compiled": "The job, compiled."}


@pytest.fixture
def bench() -> Iterator[tuple[Bench, list[Record]]]:
    records: list[Record] = []
    with torch.inference_mode():
        yield Bench(device="cpu", scale=TINY, keep=records.append, rate=1.0), records


def run(**more: Any) -> Record:
    scale = {"size": [64, 64], "steps": 2, "weights": "tiny", "matmul": 512}
    versions = dict.fromkeys(("torch", "diffusers", "transformers", "triton", "torchao"), "1")
    return {"environment": {"device": "cpu", "at": "2026-11-21 12:00", "python": "3", "cores": 2, "rate": 100.0,
                            "scale": scale} | versions | more}


def on_a_gpu() -> Record:
    return run(device="cuda", gpu="NVIDIA H200", gib=139.0, driver="580", cuda="13.0", cudnn=91)


def made(who: str, how: str, seconds: float, pictures: int = 1) -> Record:
    """A job's record as though it had taken so long; 400 TFLOP a picture at 800 TFLOP/s."""
    figures = with_rate({"wall_ms": 1e3 * seconds}, 400.0 * pictures, 800.0)
    return {"part": "job" if how == "eager" else "job-compiled", "case": f"{pictures} at a time, {who}, {how}",
            "figures": figures | {"who": who, "how": how, "pictures": pictures, "each_s": seconds / pictures,
                                  "per_s": pictures / seconds}}


def test_without_a_gpu_it_writes_a_page_that_says_so(tmp_path: Path) -> None:
    out = tmp_path / "page.md"
    command.main(["--device", "cpu", "--only", "attention", "unet", "--batches", "1", "--out", str(out)])
    written = out.read_text()
    assert written.splitlines()[2].startswith("**No GPU was measured.** The weights are random and tiny")
    assert "| 1 rows | " in written
    assert "| MATH | " in written
    assert "- CUDNN_ATTENTION: failed: RuntimeError: " in written, "a kernel that a CPU lacks is a line, not the end"
    assert "Goals" not in written


def test_a_part_or_a_case_that_fails_is_a_line_and_the_rest_goes_on(tmp_path: Path) -> None:
    def one(bench: Bench) -> None:
        bench.case("too large", lambda: {"wall_ms": torch.ones(2) @ torch.ones(3)})
        bench.case("fits", lambda: {"wall_ms": 1.0})
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 3 GiB")

    def two(bench: Bench) -> None:
        bench.case("after it", lambda: {"wall_ms": 2.0})

    out = tmp_path / "page.md"
    command.measure({"job": one, "unet": two}, "cpu", TINY, out, None)
    written = out.read_text()
    assert "- too large: failed: RuntimeError: " in written
    assert "- all that was left of it: failed: OutOfMemoryError: CUDA out of memory. Tried to allocate 3 GiB" in written
    assert "| fits | 1.0 |" in written
    assert "| after it | 2.0 |" in written


def test_what_the_budget_leaves_out_is_named_and_another_run_makes_it_good() -> None:
    records, hand = [run()], [0.0]

    def case(seconds: float) -> Figures:
        hand[0] += seconds
        return {"wall_ms": 1e3 * seconds}

    def one(bench: Bench) -> None:
        bench.case("quick", lambda: case(10))
        bench.case("slow", lambda: case(60))
        bench.case("late", lambda: case(1))

    def two(bench: Bench) -> None:
        raise AssertionError("not to be begun")

    short = Bench(device="cpu", scale=TINY, keep=records.append, budget=60, clock=lambda: hand[0])
    short.run("one", one)
    short.run("two", two)
    written = page(records, PARTS)
    assert "| slow | 60,000.0 |" in written
    assert "- late: not measured: the budget of 60 s" in written
    assert "- all of it: not measured: the budget of 60 s" in written.partition("## two")[2]

    long = Bench(device="cpu", scale=TINY, keep=records.append, clock=lambda: hand[0])
    long.run("one", one)
    long.run("two", lambda bench: bench.case("now", lambda: case(1)))
    assert "not measured" not in page(records, PARTS)

    short.run("one", one)
    short.case("slow", dict)
    assert records[-1]["skipped"] == "the budget of 60 s"
    assert "not measured" not in page(records, PARTS), "what is known stays known"


def test_a_share_is_arithmetic_over_time_over_the_measured_rate() -> None:
    figures = with_rate({"wall_ms": 500.0}, tflop=100.0, rate=800.0)
    assert figures["tflops"] == 200
    assert figures["share"] == 0.25


def test_arithmetic_is_counted_on_a_cpu_as_elsewhere() -> None:
    query = torch.randn(1, 2, 16, 8)
    attended = tflop_of(lambda: torch.nn.functional.scaled_dot_product_attention(query, query, query))
    assert attended == 2 * 2 * (2 * 16 * 16 * 8) / 1e12
    assert tflop_of(lambda: torch.randn(4, 8) @ torch.randn(8, 2)) == 2 * 4 * 8 * 2 / 1e12


def test_jobs_are_held_against_the_stock_pipelines_run_eagerly_by_as_many_pictures() -> None:
    records = [on_a_gpu(), made("ours", "eager", 1.0), made("stock", "eager", 2.0), made("stock", "eager", 12.0, 8),
               made("ours", "compiled", 0.8), made("ours", "compiled", 4.0, 8)]
    written = page(records, PARTS)
    assert "No GPU was measured" not in written
    assert "| 1 at a time, ours, eager | 1.000 | 1.000 | 50.0% | 2.00 |" in written
    assert "| 1 at a time, ours, compiled | 0.800 | 1.250 | 62.5% | 2.50 |" in written
    assert "| 8 at a time, ours, compiled | 0.500 | 2.000 | 100.0% | 3.00 |" in written
    eager, compiled = written.partition("## job-compiled")[::2]
    assert "lean arithmetic: reached (50.0% at best); 1.8 times the stock eager pipelines: reached (2.00" in eager
    assert "(3.00 at best)" in compiled
    slow = page([on_a_gpu(), made("ours", "eager", 1.5), made("stock", "eager", 2.0)], PARTS)
    assert "not reached (33.3% at best); 1.8 times the stock eager pipelines: not reached (1.33 at best)" in slow


def test_runs_on_different_machines_are_not_put_on_one_page() -> None:
    with pytest.raises(ValueError, match="different devices"):
        page([run(), on_a_gpu()], PARTS)


def test_a_line_cut_short_by_a_kill_is_passed_over(tmp_path: Path) -> None:
    lines = Lines(tmp_path / "page.jsonl")
    lines.add({"part": "one"})
    with lines.path.open("a") as file:
        file.write('{"part": "tw')
    assert lines.read() == [{"part": "one"}]


def test_what_is_asked_by_default_is_what_the_document_asks() -> None:
    from flows.omni_bg_document import OmniBgParams

    fields = {name: field.default for name, field in OmniBgParams.model_fields.items()}
    for which, asked in PASSES.items():
        assert (asked.strength, asked.guidance, asked.pag, *asked.scales) == tuple(
            fields[f"{which}_pass_{name}"] for name in (
                "i2i_strength", "guidance_scale", "pag_scale", "outpaint_strength", "line_strength", "depth_strength"))
    wanted = tuple(fields[name] for name in (
        "light_pass_guidance_scale", "light_mix_scale", "background_brightness", "object_padding", "negative_prompt"))
    assert wanted == (LIGHT_GUIDANCE, LIGHT_MIX, BRIGHTNESS, PADDING, NEGATIVE)


def test_the_stock_job_makes_the_same_pictures(bench: tuple[Bench, list[Record]],
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    """It drops fractions where we round, and the sum of rounding is two levels: else it would be another job."""
    monkeypatch.setattr(job, "PHOTOS", job.PHOTOS[:1])
    whole = job.Job(bench[0])
    [ours], [theirs] = whole.ours(whole.prepared[:1]), whole.theirs(whole.prepared[:1])
    assert ours.std() > 5, "a flat picture would prove nothing"
    assert np.abs(ours.astype(int) - theirs).max() <= 3


def test_a_job_compiled_by_its_setting_is_held_against_its_own_eager_pictures(
        bench: tuple[Bench, list[Record]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "PHOTOS", job.PHOTOS[:1])
    monkeypatch.setattr(setting, "MODES", ("regional",))
    small, records = replace(bench[0], scale=replace(TINY, pictures=(1,))), bench[1]
    setting.job_setting(small)
    found = records[-1]["figures"]
    assert found["graphs"] >= 4
    assert found["levels"] == 0
    assert found["who"] == "ours"

    monkeypatch.setattr(setting, "Compiler", lambda mode, backend: Compiler(mode, "no-such-backend"))
    setting.job_setting(small)
    assert records[-1]["failed"].startswith("RuntimeError: it ran eagerly: InvalidBackend")


def test_eight_bit_linears_compute_nearly_the_same() -> None:
    torch.manual_seed(0)
    linear, values = torch.nn.Linear(64, 32).bfloat16(), torch.randn(3, 5, 64).bfloat16()
    with torch.inference_mode():
        wanted = linear(values)
        try:
            found = fp8.RowwiseLinear(linear)(values)
        except (RuntimeError, NotImplementedError) as error:
            pytest.skip(f"this torch has no 8-bit products on a CPU: {error}")
    assert found.shape == wanted.shape
    assert float((found - wanted).abs().max() / wanted.abs().max()) < 0.1
