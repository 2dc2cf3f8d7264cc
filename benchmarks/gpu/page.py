"""The records of one run or of several as a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.gpu.bench import Record

GOAL_SHARE, GOAL_TIMES = 0.5, 1.8
"""Of the measured matrix product's rate on the lean arithmetic, and over the stock pipelines run eagerly."""

COLUMNS = {
    "wall_ms": ("ms", "{:,.1f}"), "spread": ("least to most", "{}"), "host_ms": ("host ms", "{:,.1f}"),
    "events_ms": ("GPU events ms", "{:,.1f}"), "busy_ms": ("GPU busy ms", "{:,.1f}"), "first_s": ("first s", "{:,.2f}"),
    "tflop": ("TFLOP", "{:,.4g}"), "tflops": ("TFLOP/s", "{:,.4g}"), "share": ("share", "{:.1%}"),
    "peak_gib": ("peak GiB", "{:.1f}"), "gb": ("GB", "{:.3g}"), "gb_per_s": ("GB/s", "{:.2f}"),
    "imports_s": ("imports s", "{:.1f}"), "far": ("difference", "{:.1e}"), "times_stock": ("x stock", "{:.2f}"),
    "times_bf16": ("x bf16", "{:.2f}"), "linears": ("linears", "{}")}
JOB = {
    "each_s": ("s a picture", "{:,.3f}"), "per_s": ("pictures/s", "{:.3f}"), "share": ("share, lean", "{:.1%}"),
    "times": ("x stock eager", "{:.2f}"), "spread": ("least to most, ms", "{}"), "peak_gib": ("peak GiB", "{:.1f}"),
    "first_s": ("first s", "{:,.1f}"), "built_s": ("weights made s", "{:.1f}"), "prepare_s": ("prepare s", "{:.2f}"),
    "finish_s": ("mix s", "{:.2f}"), "whole_s": ("whole s", "{:,.2f}"), "levels": ("levels apart", "{}"),
    "graphs": ("graphs compiled", "{}")}
NO_GPU = ("**No GPU was measured.** The weights are random and {weights}, the pictures {width} x {height}, the steps "
          "{steps}, and compiled means captured by torch and run as it was. These figures say that the script runs, "
          "and nothing about speed.")


def page(records: Sequence[Record], parts: dict[str, str]) -> str:
    """parts: name -> what it measures, in the page's order. Raises ValueError for runs on different machines."""
    runs = [one["environment"] for one in records if "environment" in one]
    if len({(run["device"], run.get("gpu"), str(run["scale"]["size"])) for run in runs}) != 1:
        raise ValueError("these lines are of different devices or sizes: give each an --out of its own")
    last = runs[-1]
    width, height = last["scale"]["size"]
    rate = [run["rate"] for run in runs]
    found = [f"# omni-bg on {last.get('gpu') or 'a CPU'}, {last['at'][:10]}", ""]
    if last["device"] != "cuda":
        found += [NO_GPU.format(width=width, height=height, **last["scale"]), ""]
    found += [_facts(last), "", (
        f"`python -m benchmarks.gpu`, {len(runs)} run(s), random weights, {last['scale']['weights']}. Pictures: "
        f"{width} x {height}. Share: of the measured matrix product, {min(rate):,.4g} to {max(rate):,.4g} TFLOP/s "
        f"({last['scale']['matmul']} cubed, random data)."), ""]
    kept = against_stock(settled(records))
    for part, what in parts.items():
        mine = [one for one in kept if one["part"] == part]
        if mine:
            goals = _goals(mine) if last["device"] == "cuda" else []  # of a CPU they would say nothing
            found += [f"## {part}", "", what, "", *_table(mine), *goals, *_left(mine), ""]
    return "\n".join(found).rstrip() + "\n"


def settled(records: Sequence[Record]) -> list[Record]:
    """One record for each case: the latest that has figures, else the latest; in the order they were first tried."""
    kept: dict[tuple[str, str], Record] = {}
    for one in records:
        if "part" in one:
            key = one["part"], one["case"]
            if "figures" in one or "figures" not in kept.get(key, {}):
                kept[key] = one
    return _without_remainders(list(kept.values()))


def against_stock(records: Sequence[Record]) -> list[Record]:
    """With how many times as fast as the stock pipelines, run eagerly, each job is, by as many pictures at a time;
    compiled ones are measured in a part of their own."""
    jobs = [one["figures"] for one in records if "who" in one.get("figures", {})]
    eager = {one["pictures"]: one["each_s"] for one in jobs if (one["who"], one["how"]) == ("stock", "eager")}
    return [one if one.get("figures", {}).get("pictures") not in eager else one | {"figures": one["figures"] | {
        "times": eager[one["figures"]["pictures"]] / one["figures"]["each_s"]}} for one in records]


def _without_remainders(kept: list[Record]) -> list[Record]:
    """Parts that were left out in one run and measured in another are no longer left out."""
    measured = {one["part"] for one in kept if "figures" in one}
    return [one for one in kept if one["part"] not in measured or one["case"] != "all of it"]


def _facts(run: Record) -> str:
    if run["device"] != "cuda":
        where = f"CPU, {run['cores']} cores"
    else:
        where = (f"{run['gpu']}, {run['gib']:.0f} GiB, driver {run['driver'] or 'unknown'}, CUDA {run['cuda']}, cuDNN "
                 f"{run['cudnn']}, {run['cores']} cores")
    packages = ", ".join(f"{name} {run[name] or 'not there'}" for name in (
        "torch", "diffusers", "transformers", "triton", "torchao"))
    return f"{where}; Python {run['python']}, {packages}."


def _table(records: Sequence[Record]) -> list[str]:
    rows = [(one["case"], _told(one["figures"])) for one in records if "figures" in one]
    if not rows:
        return []
    job = "who" in rows[0][1]
    columns = {key: told for key, told in (JOB if job else COLUMNS).items()
               if any(figures.get(key) is not None for _, figures in rows)}
    lines = ["| | " + " | ".join(title for title, _ in columns.values()) + " |", "|---|" + "---:|" * len(columns)]
    for case, figures in rows:
        cells = ["" if figures.get(key) is None else form.format(figures[key]) for key, (_, form) in columns.items()]
        lines.append(f"| {case} | " + " | ".join(cells) + " |")
    return lines


def _told(figures: dict[str, Any]) -> dict[str, Any]:
    if "least_ms" not in figures:
        return dict(figures)
    return figures | {"spread": f"{figures['least_ms']:,.1f} to {figures['most_ms']:,.1f} ({figures['runs']})"}


def _goals(records: Sequence[Record]) -> list[str]:
    ours = [one["figures"] for one in records if one.get("figures", {}).get("who") == "ours"]
    if not ours:
        return []
    share, times = max(one["share"] for one in ours), max(one.get("times", 0.0) for one in ours)
    return ["", f"Goals: {GOAL_SHARE:.0%} of the measured rate on the lean arithmetic: {_reached(share >= GOAL_SHARE)} "
            f"({share:.1%} at best); {GOAL_TIMES} times the stock eager pipelines: {_reached(times >= GOAL_TIMES)} "
            f"({times:.2f} at best)."]


def _reached(so: bool) -> str:
    return "reached" if so else "not reached"


def _left(records: Sequence[Record]) -> list[str]:
    said = [f"- {one['case']}: {'failed' if 'failed' in one else 'not measured'}: {one.get('failed') or one['skipped']}"
            for one in records if "figures" not in one]
    return ["", *said] if said else []
