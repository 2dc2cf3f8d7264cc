"""How long does a job take that can reuse everything? Median of 100 jobs inside one flow run, server start not counted.

Writes benchmarks/results/<date>-reuse.md. Target: under 50 ms a pass, and no weights loaded.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
import tempfile
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
JOBS = 100


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="backlot-reuse-") as home:
        os.environ["BACKLOT_HOME"] = home
        measure()


def measure() -> None:
    from flows.pipelines import pipeline
    from flows.prefect_home import own_prefect
    from flows.run_command import build_document
    from storage.settings import Settings

    omni_bg = pipeline("omni-bg")
    document = build_document(omni_bg, ROOT / "examples" / "omni-bg" / "bottle.yaml", {"width": "256", "height": "192"})
    settings = Settings().model_copy(update={"input_roots": (Path("/"),)})
    with own_prefect(settings.home):
        from prefect import flow

        from tasks.services import Services, use

        body = omni_bg.load().fn
        with use(Services(settings=settings)) as first:
            started = time.perf_counter()
            omni_bg.load()(document)
            fresh = time.perf_counter() - started
            assert first.zoo.loaded

        # New services for the hits: nothing decoded, nothing loaded, as in a process that starts with them.
        with use(Services(settings=settings)) as services:
            seconds: list[float] = []

            @flow(name="reuse-benchmark")
            def hundred() -> None:
                for number in range(JOBS):
                    one = document.model_copy(update={"job_id": f"hit-{number}"})
                    begun = time.perf_counter()
                    body(one)
                    seconds.append(time.perf_counter() - begun)

            hundred()
            passes = services.lineage.passes(f"hit-{JOBS - 1}")
            loaded = services.zoo.loaded
    reused = [row for row in passes if row.disposition == "reused"]
    if loaded or len(reused) != len([row for row in passes if row.disposition != "skipped"]):
        sys.exit("this was no measurement of reuse: something was executed or weights were loaded")
    report(seconds, len(reused), fresh)


def report(seconds: list[float], passes: int, fresh: float) -> None:
    median, worst = statistics.median(seconds), sorted(seconds)[int(0.95 * len(seconds))]
    text = f"""# Reuse of a whole omni-bg job, {date.today()}

`python benchmarks/reuse.py`: {len(seconds)} jobs inside one flow run, SQLite, local store, Prefect's embedded server
already up; 256 x 192 pixels, tiny weights, {passes} passes reused a job (each hit re-reads and re-hashes its bytes),
the photo re-read and re-hashed, the final picture published. No weights loaded, nothing executed (checked).

| | |
|---|---|
| whole job, median | {1000 * median:.0f} ms |
| whole job, 95th percentile | {1000 * worst:.0f} ms |
| a pass, median of jobs / {passes} | {1000 * median / passes:.1f} ms (target: under 50 ms) |
| the same job executed, first of a fresh home (with Prefect's start, imports, tiny weights) | {fresh:.1f} s |

{platform.machine()}, {os.cpu_count()} cores, no GPU; Python {platform.python_version()}, prefect {version('prefect')},
SQLAlchemy {version('sqlalchemy')}.
"""
    path = ROOT / "benchmarks" / "results" / f"{date.today()}-reuse.md"
    path.write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
