"""A full disk (G14): a job ends saying so, nothing is torn, no row lacks its bytes, and with space it goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_home import Home
from toy_worker import ROOT

NAMESPACE = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]


@pytest.mark.parametrize("database", ["on the same disk", "elsewhere"])
def test_a_full_disk_ends_a_job_as_resource_and_with_room_it_ends_right(
        database: str, homes: Callable[..., Home], tmp_path: Path) -> None:
    _may_mount(tmp_path)
    photo, disk = homes().photo, tmp_path / "disk"
    disk.mkdir()
    home = disk if database == "on the same disk" else tmp_path / "home"
    helpers = ROOT / "tests" / "helpers"
    done = subprocess.run(
        [*NAMESPACE, sys.executable, str(helpers / "toy_full_disk.py"), str(disk), str(home), photo],
        capture_output=True, text=True, timeout=120, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{helpers}"})
    assert done.returncode == 0, done.stderr
    met = [json.loads(line) for line in done.stdout.splitlines()]
    print(json.dumps(met, indent=1))
    assert [one["right_after"] for one in met] == [[]] * len(met)
    assert [one["at_last"] for one in met] == [[]] * len(met)
    failed = [one for one in met if one["failed"]]
    assert len(failed) >= 3
    assert {one["code"] for one in failed} == {"resource"}
    if database == "elsewhere":
        assert {one["recorded"] for one in failed} == {"resource"}
        assert all("[Errno 28]" in one["says"] for one in failed)


def _may_mount(tmp_path: Path) -> None:
    probe = tmp_path / "probe"
    probe.mkdir()
    if subprocess.run([*NAMESPACE, "mount", "-t", "tmpfs", "none", str(probe)], capture_output=True,
                      check=False).returncode:
        pytest.skip("this user may not mount a small disk of its own (unshare, mount)")
