"""Toy jobs on a disk of 16 MB that fills up. Run as a script inside a mount namespace of its own (`unshare`), so that
nothing of it outlives the process: toy_full_disk.py DISK HOME PHOTO prints one JSON object for each size of what was
free. Pictures lie on the disk, and the database where HOME is: on the same disk, or on a roomy one.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

FREE = (0, 8_192, 24_576, 49_152, 98_304)
"""Bytes left when a job starts: too few for the database's next page, for the photo, for a picture, for a delivery."""


def run_when_full(disk: Path, photo: str, free: int) -> dict[str, Any]:
    """One job that meets the full disk, and the same again once there is room."""
    from toy_job import ToyDocument, run_toy

    from tasks.classify import classify
    from tasks.services import services

    document = ToyDocument(job_id=f"job-{free}", image=photo, amount=free % 251, debug_mode=True)
    met: dict[str, Any] = {"free": free}
    fill(disk / "ballast", free)
    try:
        run_toy(document)
        met["failed"] = None
    except Exception as error:
        met |= {"failed": type(error).__name__, "code": classify(error).code, "says": str(error)[:200]}
    (disk / "ballast").unlink()
    known = services().lineage.has_job(document.job_id)
    met["right_after"] = faults()
    met["recorded"] = (services().lineage.job(document.job_id).error or {}).get("class") if known else None
    run_toy(document)
    met["at_last"] = faults()
    return met


def fill(ballast: Path, free: int) -> None:
    """Write until nothing fits, then give back `free` bytes."""
    with ballast.open("wb", buffering=0) as file:
        size = 65_536
        while size:
            try:
                file.write(b"\0" * size)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                size //= 2
    os.truncate(ballast, max(0, ballast.stat().st_size - free))


def faults() -> list[str]:
    from storage.verify import verify
    from tasks.services import services

    here = services()
    return [f"{one.kind} {one.where}: {one.what}" for one in verify(here.database, here.settings).faults]


def main(disk: Path, home: Path, photo: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(disk)], check=True)
    from toy_job import ToyDocument, run_toy

    from storage.settings import Settings
    from tasks.services import Services, use

    settings = Settings(home=home, artifacts_url=f"{disk}/artifacts", outputs_url=f"{disk}/outputs",
                        input_roots=(Path("/"),))
    with use(Services(settings=settings)) as here:
        run_toy(ToyDocument(job_id="before", image=photo))
        for free in FREE:
            print(json.dumps(run_when_full(disk, photo, free)), flush=True)
        here.database.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
