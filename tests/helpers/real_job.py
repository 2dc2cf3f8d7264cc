"""One omni-bg job on tiny weights in a process of its own: real_job.py HOME PHOTO [PLACE STEP]

With PLACE and STEP it kills itself there, as `kill -9` would: in the middle of a pass, lease held, nothing said.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

JOB = "real"


def main(home: Path, photo: str, die_at: tuple[str, int] | None) -> None:
    from flows.documents import validate
    from flows.omni_bg import omni_bg
    from flows.omni_bg_document import OmniBgParams
    from storage.settings import Settings
    from tasks.progress import Event, PassStepped, listening
    from tasks.services import Services, use

    document = validate(OmniBgParams, {
        "job_id": JOB, "image": photo, "subject": "a box", "placed_on": "a table", "background": "a kitchen",
        "camera_orientation": "front", "camera_angle": "eye level", "main_light_direction": "left",
        "proposed_background": "", "proposed_brightness": 0.1, "width": 96, "height": 64, "seed": 7})

    def die(event: Event) -> None:
        if isinstance(event, PassStepped) and (event.at, event.done) == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    with (use(Services(settings=Settings(home=home, lease_seconds=3, input_roots=(Path("/"),)))), listening(die)):
        omni_bg(document)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], (sys.argv[3], int(sys.argv[4])) if len(sys.argv) > 3 else None)
