"""`backlot run` as users start it: a process of its own, Prefect's embedded server, tiny weights."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from flows import run_command
from tasks.progress import PassStepped, Warned, listening, tell

FIELDS = {
    "subject": "a box", "placed_on": "a table", "background": "a kitchen", "camera_orientation": "front",
    "camera_angle": "eye level", "main_light_direction": "left", "proposed_background": "", "proposed_brightness": 0.1,
    "width": 64, "height": 64, "seed": 7, "skip_second_pass": True,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A document beside its photo, and one home for the whole file: a fresh one costs Prefect's migrations."""
    folder = tmp_path_factory.mktemp("run")
    photo = np.full((120, 160, 3), 225, dtype=np.uint8)
    cv2.rectangle(photo, (50, 30), (110, 100), (40, 70, 160), -1)
    cv2.imwrite(str(folder / "box.png"), photo)
    (folder / "box.json").write_text(json.dumps({**FIELDS, "image": "box.png"}))
    return folder


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "flows", "run", "omni-bg", str(folder / "box.json"), *arguments], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "BACKLOT_HOME": str(folder / "home")})


def report(folder: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    process = start(folder, "--json", *arguments)
    out, error = process.communicate(timeout=300)
    assert out, error
    return process.returncode, json.loads(out)


def test_json_prints_one_object_with_everything(folder: Path) -> None:
    code, told = report(folder, "--job-id", "one", "--skip-light-pass", "true")
    assert code == 0
    assert (told["job_id"], told["state"], told["error"]) == ("one", "completed", None)
    assert [output["role"] for output in told["outputs"]] == ["final"]
    assert Path(told["outputs"][0]["uri"].removeprefix("file://")).is_file()
    assert told["requested"]["image"] == str(folder / "box.png")
    assert told["resolved"]["prompt"].startswith("photograph of a box placed on a table")
    first = next(row for row in told["passes"] if row["at"] == "first")
    assert (first["disposition"], first["model_calls"], len(first["key"])) == ("executed", 10, 64)
    assert first["seconds"] > 0


def test_progress_is_a_line_a_pass_and_flags_override_the_document(folder: Path) -> None:
    process = start(folder, "--job-id", "two", "--skip-light-pass", "true", "--seed", "8")
    out, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    lines = [line.split() for line in out.splitlines()]
    assert ["cut_out", "reused"] in [line[:2] for line in lines]
    assert ["first", "executed"] in [line[:2] for line in lines]
    assert ["relight", "skipped", "skip_light_pass"] in lines
    assert "10 model calls" in out
    assert any(line[:1] == ["final"] and line[1].startswith("file://") for line in lines)
    assert "Warning" not in error


def test_a_failing_job_ends_with_code_2_and_its_error_in_json(folder: Path) -> None:
    (folder / "text.png").write_text("not a picture")
    code, told = report(folder, "--job-id", "bad", "--image", str(folder / "text.png"))
    assert code == 2
    assert (told["state"], told["error"]["field"], told["error"]["class"]) == ("failed", "image", "permanent-input")
    assert told["error"]["remedy"]


def test_ctrl_c_exits_130_and_leaves_a_job_that_goes_on_where_it_stopped(folder: Path) -> None:
    process = start(folder, "--job-id", "stopped", "--light-pass-steps", "50", "--seed", "9")
    assert process.stdout is not None
    for line in process.stdout:
        if line.split()[:2] == ["second", "skipped"]:
            break
    time.sleep(0.3)  # the light pass, 95 model calls long, has begun
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "--job-id stopped" in error
    assert "Traceback" not in error

    resumed = start(folder, "--job-id", "stopped", "--light-pass-steps", "50", "--seed", "9")
    out, error = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, error
    did = {line.split()[0]: line.split()[1] for line in out.splitlines() if len(line.split()) > 1}
    assert "(opened before" in out
    assert (did["cut_out"], did["first"], did["relight"], did["mix"]) == ("reused", "reused", "executed", "executed")


def test_an_interrupt_that_was_lost_in_a_library_comes_again_at_the_next_step(
        monkeypatch: pytest.MonkeyPatch) -> None:
    told = threading.Event()
    monkeypatch.setattr(run_command, "_told_to_end", told)
    step = PassStepped(job_id="job", at="relight", done=1, total=2)
    with listening(run_command._insist):
        tell(step)
        told.set()
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                tell(step)
        tell(Warned(job_id="job", text="closing the job must be able to tell of it"))


def test_a_job_that_fails_for_another_reason_than_its_input_ends_with_code_1(folder: Path) -> None:
    code, told = report(folder, "--job-id", "no-weights", "--profile", "sdxl", "--width", "256", "--height", "256")
    assert code == 1
    assert (told["state"], told["error"]["class"]) == ("failed", "permanent-config")
    assert told["job_id"] is None  # refused before a job was opened and anything was made
    assert "backlot weights pull --profile sdxl" in told["error"]["remedy"]


def test_a_picture_below_the_limit_is_not_delivered_and_the_exit_code_is_3(
        folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The highest limit is one that this product under another light does not reach."""
    striped = np.full((160, 160, 3), 225, dtype=np.uint8)
    striped[24:136, 24:136] = np.random.default_rng(5).integers(40, 160, (112, 112, 1))
    cv2.imwrite(str(folder / "striped.png"), striped)
    monkeypatch.setenv("BACKLOT_MIN_TILE_NCC", "0.999")
    process = start(folder, "--job-id", "held", "--image", str(folder / "striped.png"), "--width", "160",
                    "--height", "160")
    out, error = process.communicate(timeout=300)
    assert process.returncode == 3, error
    assert "min_tile_ncc" in out
    assert "is below the limit of 0.999: least at x " in out
    assert error.startswith("Needs review: the product in the picture is not the product any more")
    told = subprocess.run([sys.executable, "-m", "flows", "show", "held"], text=True, capture_output=True, check=True,
                          env={**os.environ, "BACKLOT_HOME": str(folder / "home")}).stdout
    assert "needs_review" in told
    assert "The product in the picture" in told
    assert "Delivered" not in told


def test_an_image_that_carries_a_secret_is_refused_before_anything_is_stored(folder: Path, tmp_path: Path) -> None:
    uri = "https://shop.example/box.jpg?X-Amz-Signature=canary"
    ended = subprocess.run(
        [sys.executable, "-m", "flows", "run", "omni-bg", str(folder / "box.json"), "--image", uri], text=True,
        capture_output=True, env={**os.environ, "BACKLOT_HOME": str(tmp_path / "home")}, check=False)
    assert ended.returncode == 2
    assert ended.stderr == (
        "Refused: image='https://shop.example/box.jpg?***': carries a signature, a token or a key. Put the photo into "
        "a bucket of BACKLOT_INPUT_BUCKETS and give its s3:// uri, or one that needs none\n")
    assert not list(tmp_path.iterdir())
