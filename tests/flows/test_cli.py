"""The command line, in-process and in a fresh interpreter; nothing here starts a job."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.omni_bg_document import OmniBgParams

EXAMPLE = Path(__file__).parents[2] / "examples" / "omni-bg" / "bottle.yaml"


def backlot(*arguments: str) -> tuple[int, str]:
    """Exit code and output of the real program in a process of its own."""
    done = subprocess.run([sys.executable, "-m", "flows", *arguments], capture_output=True, text=True, timeout=120,
                          env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"})
    return done.returncode, done.stdout + done.stderr


def test_help_names_every_command() -> None:
    code, text = backlot("--help")
    assert code == 0
    for command in ("run", "schema", "show", "jobs", "lineage", "why", "sheet", "db", "weights"):
        assert f" {command} " in text


def test_run_help_names_every_field_of_the_document() -> None:
    shown = CliRunner().invoke(app, ["run", "omni-bg", "--help"], env={"COLUMNS": "240"})
    assert shown.exit_code == 0
    for name in OmniBgParams.model_fields:
        assert f"--{name.replace('_', '-')}" in shown.output


def test_schema_prints_the_published_schema() -> None:
    shown = CliRunner().invoke(app, ["schema", "omni-bg"])
    assert json.loads(shown.output) == OmniBgParams.model_json_schema()


def test_an_unknown_pipeline_is_bad_input() -> None:
    code, text = backlot("schema", "omni-gb")
    assert (code, text) == (2, "PIPELINE='omni-gb': is not a pipeline. Did you mean omni-bg?\n")


@pytest.mark.parametrize(("arguments", "said"), [
    ([str(EXAMPLE), "--first-pass-steps", "9"], "first_pass_steps=9: input should be greater than or equal to 10"),
    ([str(EXAMPLE), "--seed", "seven"], "seed='seven': is not a whole number"),
    ([str(EXAMPLE), "--profile", "tinny"], "--profile='tinny': is not known. Allowed: tiny, sdxl"),
    ([str(EXAMPLE), "--refresh", "paint"], "--refresh='paint': is not known"),
    (["none.yaml"], "DOCUMENT='none.yaml': there is no such file"),
    (["--subject", "a cup"], "image=None: is required"),
])
def test_bad_input_ends_in_one_clear_line_and_exit_code_2(arguments: list[str], said: str, home: Path) -> None:
    code, text = backlot("run", "omni-bg", *arguments)
    assert code == 2
    assert said in text
    assert "Traceback" not in text
    assert not home.exists() or not list(home.iterdir())


def test_bad_input_as_json_is_one_object(home: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "flows", "run", "omni-bg", str(EXAMPLE), "--seed", "-5", "--json"],
                          capture_output=True, text=True, timeout=120)
    report = json.loads(done.stdout)
    assert done.returncode == 2
    assert (report["state"], report["job_id"]) == ("refused", None)
    error = report["error"]
    assert (error["field"], error["value"], error["class"]) == ("seed", "-5", "permanent-input")
    assert error["remedy"]


@pytest.mark.parametrize("command", [["show", "no-such"], ["why", "no-such"], ["lineage", "no-such"],
                                     ["sheet", "no-such"]])
def test_a_job_that_is_not_there_is_one_clear_line(command: list[str], home: Path) -> None:
    code, text = backlot(*command)
    assert code == 2
    assert "'no-such'" in text
    assert "Traceback" not in text


def test_an_unknown_setting_is_one_clear_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKLOT_OUTPUT_URL", "x")
    code, text = backlot("jobs")
    assert code == 2
    assert "Did you mean BACKLOT_OUTPUTS_URL?" in text
