"""kill -9 in the middle of a real pass on tiny weights: the job resumes, and ends in the very same picture."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select
from toy_home import Home
from toy_worker import ROOT

from storage.tables import pass_execution


def run(server: str, folder: Path, photo: Path, *die_at: str) -> int:
    helpers = ROOT / "tests" / "helpers"
    return subprocess.run(
        [sys.executable, str(helpers / "real_job.py"), str(folder), str(photo), *die_at], timeout=300, cwd=ROOT,
        check=False, env={**os.environ, "PREFECT_API_URL": server, "PYTHONPATH": str(ROOT)}).returncode


@pytest.mark.slow
def test_a_job_killed_in_its_second_render_resumes_to_the_same_picture(
        prefect_server: str, homes: Callable[..., Home], tmp_path: Path) -> None:
    photo = ROOT / "examples" / "products" / "mug.jpg"
    whole, killed = homes(), homes()
    assert run(prefect_server, whole.folder, photo) == 0
    assert run(prefect_server, killed.folder, photo, "second", "5") == -signal.SIGKILL
    assert killed.check().faults == ()
    before = tries(killed)
    assert [state for _, state in before][-1] == "running"
    assert run(prefect_server, killed.folder, photo) == 0
    assert killed.check().findings == ()
    assert killed.finals() == whole.finals()
    again = tries(killed)
    assert again[:len(before)] == [*before[:-1], (before[-1][0], "failed")]  # none of them was computed again
    assert len(again) == len(tries(whole)) + 1


def tries(home: Home) -> list[tuple[str, str]]:
    """(pass, state) of every execution, in the order of their claims."""
    rows = home.ask(lambda connection: connection.execute(
        select(pass_execution.c.pass_name, pass_execution.c.state).order_by(pass_execution.c.fence)).all())
    return [(row.pass_name, row.state) for row in rows]
