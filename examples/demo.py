"""`make demo`: three products through omni-bg on tiny weights; a second run that reuses; a changed light mix.

Everything lands in demo/: the pictures, a contact sheet, the lineage tree of one job, and what re-ran and why. It ends
with an error if anything was made twice.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEMO = Path(os.environ.get("DEMO_FOLDER", ROOT / "demo"))
PRODUCTS = ("bottle", "mug", "shoe-box")
SMALL = {"width": "256", "height": "192", "final_step_upscale_4x": "true"}


def main() -> int:
    for name in [name for name in os.environ if name.startswith("BACKLOT_")]:
        del os.environ[name]  # the demo touches nothing but demo/, whatever the shell is set up for
    os.environ |= {"BACKLOT_HOME": str(DEMO / "home"), "BACKLOT_OUTPUTS_URL": str(DEMO / "pictures")}
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
                                  {"job_id": job_id, **SMALL, **changes})
        if run_here(omni_bg, document, settings, "tiny", (), False) != DONE:
            raise SystemExit(f"the demo job {job_id} did not finish")
        return job_id

    def executed(job_id: str) -> list[str]:
        return [row.at for row in lineage.passes(job_id) if row.disposition == "executed"]

    with own_prefect(settings.home):
        console.rule("1. Three products through the passes")
        first = [run(product, "first", debug_mode="true") for product in PRODUCTS]
        console.rule("2. The same documents again: every pass is reused")
        again = [run(product, "again") for product in PRODUCTS]
        console.rule("3. Another light_mix_scale: mix and what lies below it, nothing else")
        changed = run(PRODUCTS[0], "more-light", light_mix_scale="0.9")

    lineage = services().lineage
    if any(executed(job_id) for job_id in again) or executed(changed) != ["mix", "upscale"]:
        raise SystemExit("something was made twice: this is a bug, please report it with the lines above")
    console.rule("Why the last job re-ran what it did")
    explain.why(console, lineage.why(changed))
    contact_sheet(services(), [*first, changed], DEMO / "sheet.png")
    with (DEMO / "lineage.txt").open("w", encoding="utf-8") as file:
        explain.tree(Console(file=file, width=160), explain.ancestry(lineage, first[0]))
    console.rule(f"{time.monotonic() - started:.0f} seconds")
    console.print("Look at   demo/sheet.png, demo/lineage.txt and demo/pictures/", highlight=False)
    console.print(f"Mind      {notice('tiny')}", highlight=False)
    console.print("Real ones README.md, \"From the demo to real weights\"; `backlot weights list` says what to get",
                  highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
