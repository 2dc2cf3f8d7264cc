"""`backlot doctor` as an operator types it: what it prints, how it ends, and that nothing stops it."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

import flows.doctor_command
from flows.cli import app
from tasks.diagnosis import Line, failed, ok, warning


def started(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "flows", "doctor", *arguments], capture_output=True, text=True,
                          timeout=120, env={**os.environ, "BACKLOT_HOME": str(home), **environment}, check=False)


def verdicts(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["ok"] == (done.returncode == 0)
    return {line["about"]: line["verdict"] for line in told["lines"]}


def test_a_fresh_installation_is_well_and_nothing_is_left_behind(tmp_path: Path) -> None:
    done = started(tmp_path / "home", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = verdicts(done)
    assert list(found) == ["settings", "python", "versions", "gpu", "weights", "database", "artifacts", "outputs",
                           "inputs", "disk", "prefect"]
    assert "failed" not in found.values()
    assert list(tmp_path.iterdir()) == []


def test_whatever_is_broken_is_told_at_once_within_seconds_and_without_secrets(tmp_path: Path) -> None:
    """A database and a store that never answer, a Prefect server that is away, weights that are not there."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        dumb = f"127.0.0.1:{silent.getsockname()[1]}"
        begun = time.monotonic()
        done = started(
            tmp_path / "home", "--json", "--profile", "sdxl", BACKLOT_DATABASE_URL=f"postgresql://u:CANARY@{dumb}/b",
            BACKLOT_ARTIFACTS_URL="s3://shop/cas", BACKLOT_S3_ENDPOINT_URL=f"http://{dumb}",
            BACKLOT_OUTPUTS_URL="/proc/backlot", BACKLOT_DEVICE="cuda", BACKLOT_INPUT_BUCKETS="shop",
            PREFECT_API_URL="http://u:CANARY@127.0.0.1:1/api", AWS_SECRET_ACCESS_KEY="CANARY")
        assert time.monotonic() - begun < 60
    assert done.returncode == 1, done.stderr
    found = verdicts(done)
    assert {about for about, verdict in found.items() if verdict == "failed"} == {
        "gpu", "weights", "database", "artifacts", "outputs", "prefect"}
    assert found["inputs"] == "warning"
    assert "CANARY" not in done.stdout + done.stderr


def test_bad_settings_are_told_and_the_rest_is_still_looked_at(tmp_path: Path) -> None:
    done = started(tmp_path / "home", "--json", BACKLOT_DATABSE_URL="postgresql://u:CANARY@db/b")
    assert done.returncode == 1
    lines = json.loads(done.stdout)["lines"]
    assert [line["about"] for line in lines] == ["settings", "python", "versions", "gpu", "prefect", "the rest"]
    assert lines[0]["verdict"] == "failed"
    assert lines[0]["remedy"] == "Did you mean BACKLOT_DATABASE_URL?"
    assert "CANARY" not in done.stdout + done.stderr


LINES = [ok("python", "Python 3.11"), warning("disk", "nearly full " * 20, "Make room"),
         failed("database", "tables of version 0001", "backlot db upgrade" + " with words" * 20)]


def shown(lines: list[Line], monkeypatch: pytest.MonkeyPatch, width: int = 80) -> tuple[int, list[str]]:
    monkeypatch.setattr(flows.doctor_command, "diagnose", lambda **asked: iter(lines))
    console = Console(width=width, record=True, file=io.StringIO())
    code = flows.doctor_command.doctor(console, profile=None, full=False, as_json=False)
    return code, console.export_text().splitlines()


def test_lines_are_aligned_and_a_remedy_stands_beneath_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    code, printed = shown(LINES, monkeypatch)
    assert code == 1
    assert printed[0] == "python     ok      Python 3.11"
    assert printed[1].startswith("disk       note    nearly full")
    assert printed[2].startswith("                   nearly full")  # what is long goes on in its column
    assert all(len(line) <= 80 for line in printed[:3])
    [remedy] = [line for line in printed if "backlot db upgrade" in line]
    assert remedy == " " * 21 + LINES[2].remedy
    assert printed[-1] == "1 of 3 failed."


def test_notes_alone_are_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(LINES[:2], monkeypatch)[0] == 0
    assert shown(LINES[:2], monkeypatch)[1][-1] == "All is well, 1 worth a look."
    assert shown(LINES[:1], monkeypatch)[1][-1] == "All is well."


def test_what_is_found_is_printed_as_it_is_and_not_as_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    _, printed = shown([failed("artifacts", "[bold]s3://[red]", "[link=x]mend")], monkeypatch)
    assert "[bold]s3://[red]" in printed[0]
    assert "[link=x]mend" in printed[1]


def test_the_command_is_described() -> None:
    told = CliRunner().invoke(app, ["doctor", "--help"]).stdout
    assert "say what to mend" in told
    assert "--full" in told
