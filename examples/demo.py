"""`make demo`: three products through omni-bg on tiny weights; a second run that reuses; a changed light mix.

Everything lands in demo/: the pictures, a contact sheet, the lineage tree of one job, and what re-ran and why.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "demo"
PRODUCTS = ("bottle", "mug", "shoe-box")
SIZE = {"width": "256", "height": "192"}


def main() -> int:
    os.environ["BACKLOT_HOME"] = str(DEMO / "home")
    os.environ["BACKLOT_OUTPUTS_URL"] = str(DEMO / "pictures")
    os.environ["BACKLOT_PROFILE"] = "tiny"
    started = time.monotonic()
    shutil.rmtree(DEMO, ignore_errors=True)  # so that the first run has everything to do, each time
    from rich.console import Console

    from flows import explain
    from flows.pipelines import pipeline
    from flows.prefect_home import own_prefect
    from flows.run_command import DONE, build_document, run_here
    from storage.settings import Settings
    from tasks.profiles import notice
    from tasks.services import services
    from tasks.sheet import contact_sheet

    settings, omni_bg, console = Settings(), pipeline("omni-bg"), Console()

    def run(product: str, label: str, **changes: str) -> str:
        job_id = f"{product}-{label}"
        document = build_document(omni_bg, ROOT / "examples" / "omni-bg" / f"{product}.yaml",
                                  {"job_id": job_id, **SIZE, **changes})
        if run_here(omni_bg, document, settings, "tiny", (), False) != DONE:
            raise SystemExit(f"the demo job {job_id} did not finish")
        return job_id

    with own_prefect(settings.home):
        console.rule("1. Three products, every pass")
        first = [run(product, "first", debug_mode="true") for product in PRODUCTS]
        console.rule("2. The same documents again: every pass is reused")
        for product in PRODUCTS:
            run(product, "again")
        console.rule("3. Another light_mix_scale: mix and what lies below it, nothing else")
        changed = run(PRODUCTS[0], "more-light", light_mix_scale="0.9")

    lineage = services().lineage
    console.rule("Why the last job re-ran what it did")
    explain.why(console, lineage.why(changed))
    contact_sheet(services(), [*first, changed], DEMO / "sheet.png")
    with (DEMO / "lineage.txt").open("w", encoding="utf-8") as file:
        explain.tree(Console(file=file, width=160), explain.ancestry(lineage, first[0]))
    console.rule(f"{time.monotonic() - started:.0f} seconds")
    console.print("Look at   demo/sheet.png, demo/lineage.txt and demo/pictures/", highlight=False)
    console.print(f"Mind      {notice('tiny')}", highlight=False)
    console.print("Real ones README.md, \"From the demo to real weights\"", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
