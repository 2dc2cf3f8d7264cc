"""`backlot replay` on whole jobs of tiny weights, made by the real flow: words, JSON, pictures, exit codes."""

import hashlib
import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from omni_bg_jobs import document, services
from PIL import Image
from rich.console import Console
from sqlalchemy import select, update

from flows.documents import DocumentError
from flows.omni_bg import omni_bg
from flows.replay_command import replay
from models.errors import InputError
from models.passes import PASSES
from models.pictures import Picture, decode_png
from storage.errors import JobNotFound
from storage.records import NewJob
from storage.tables import environment, job, job_pass, metadata
from tasks import work
from tasks.services import Services, use

WHOLE = ["cut_out", "place", "outpaint", "lines", "first_depth", "first", "second_depth", "second", "relight", "mix",
         "placed_large", "upscale"]
NOTICE = "tiny random weights"

pytest_plugins = ["omni_bg_jobs"]


def run(photo: Path, job_id: str, **changes: object) -> None:
    omni_bg(document(photo, job_id, width=192, height=160, final_step_upscale_4x=True, **changes),
            refresh=("mix",) if job_id == "false" else ())


def falsifying(mix: Any) -> Any:
    def mixed(params: Any, context: Any, **pictures: Picture) -> Picture:
        made: Picture = mix(params, context, **pictures)
        made[60:100, 70:120] = made[60:100, 70:120][::-1, ::-1].copy()
        return made

    return mixed


@pytest.fixture(scope="module")
def home(prefect_server: str, tmp_path_factory: pytest.TempPathFactory, photo: Path) -> Path:
    """Jobs: whole (debug, everything on), short (reuses the scene; no second and no light pass) and false, whose mix
    was made by a function that falsifies the product, so that it waits for review."""
    folder = tmp_path_factory.mktemp("home")
    with use(services(folder)), pytest.MonkeyPatch.context() as patch:
        run(photo, "whole", first_pass_depth_strength=0.5, debug_mode=True)
        run(photo, "short", first_pass_depth_strength=0.5, skip_second_pass=True, skip_light_pass=True)
        patch.setattr("models.mix.mix", falsifying(work.resolve_function("models.mix:mix")))
        work.resolve_function.cache_clear()
        run(photo, "false", first_pass_depth_strength=0.5)
    work.resolve_function.cache_clear()
    return folder


@pytest.fixture
def here(home: Path) -> Generator[Services]:
    """The home as a new process would see it."""
    with use(services(home)) as fresh:
        yield fresh


def told(here: Services, job_id: str, capsys: pytest.CaptureFixture[str], **options: Any) -> tuple[int, dict[str, Any]]:
    code = replay(here, Console(), job_id, **{"at": (), "anyway": False, "keep_in": None, "as_json": True, **options})
    return code, json.loads(capsys.readouterr().out)


def words(here: Services, job_id: str, capsys: pytest.CaptureFixture[str], **options: Any) -> tuple[int, str]:
    asked: dict[str, Any] = {"at": (), "anyway": False, "keep_in": None, "as_json": False, **options}
    code = replay(here, Console(width=160), job_id, **asked)
    return code, capsys.readouterr().out


def verdicts(report: dict[str, Any]) -> dict[str, str]:
    return {one["at"]: one["verdict"] for one in report["places"]}


def everything(here: Services) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Every row of every table, and the digest of every file below the home but the database's own."""
    with here.database.read() as connection:
        rows = {name: sorted(map(repr, connection.execute(select(table)).all()))
                for name, table in metadata.tables.items()}
    files = {str(path): hashlib.sha256(path.read_bytes()).hexdigest()
             for path in sorted(here.settings.home.rglob("*"))
             if path.is_file() and not path.name.startswith("backlot.db")}
    return rows, files


def test_a_whole_debug_job_is_bit_equal_at_every_place_and_nothing_is_written(
        here: Services, capsys: pytest.CaptureFixture[str]) -> None:
    before = everything(here)
    assert before[0]["pass_execution"]
    assert before[1]
    code, report = told(here, "whole", capsys)
    assert everything(here) == before
    assert (code, report["bit_equal"], report["state"], report["profile"]) == (0, True, "completed", "tiny")
    assert NOTICE in report["notice"]
    assert verdicts(report) == dict.fromkeys(WHOLE, "bit-equal")
    assert report["counts"] == {"bit-equal": 12}
    assert all(one["changes"] == [] and one["said"] == [] and one["key"]["recorded"] == one["key"]["now"]
               and one["digest"]["recorded"] == one["digest"]["now"] for one in report["places"])
    assert set(report["places"][0]) == {
        "at", "pass", "verdict", "disposition", "made_by", "version", "key", "digest", "difference", "changes", "said",
        "error", "seconds", "recorded_seconds", "kept"}


def test_reused_places_are_replayed_and_skipped_ones_stay_skipped(here: Services, capsys: pytest.CaptureFixture[str],
                                                                  ) -> None:
    code, report = told(here, "short", capsys)
    assert code == 0
    skipped = ["second_depth", "second", "relight", "mix"]
    assert verdicts(report) == {at: "skipped" if at in skipped else "bit-equal" for at in WHOLE}
    made = {one["at"]: (one["disposition"], one["made_by"]) for one in report["places"]}
    assert made["first"] == ("reused", "whole")
    assert made["upscale"] == ("executed", "short")
    assert made["mix"] == ("skipped", None)


def test_a_pass_whose_pixels_moved_is_found_alone_and_its_pictures_are_kept(
        here: Services, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "kept"
    code, report = told(here, "false", capsys, keep_in=folder, at=("relight", "mix", "upscale"))
    assert (code, report["state"], report["bit_equal"]) == (1, "needs_review", False)
    assert verdicts(report) == {"relight": "bit-equal", "mix": "differs", "upscale": "bit-equal"}
    mix = report["places"][1]
    assert mix["difference"]["most"] > 50
    assert 0 < mix["difference"]["share"] <= 40 * 50 / (192 * 160)
    assert 70 <= mix["difference"]["x"] < 120
    assert 60 <= mix["difference"]["y"] < 100
    assert mix["said"][0].startswith("nothing recorded explains it")
    assert [Path(one).relative_to(folder).as_posix() for one in mix["kept"]] == [
        "mix/difference.png", "mix/recorded.png", "mix/replayed.png"]
    assert sorted(path.name for path in folder.iterdir()) == ["mix"]
    then, now = (decode_png((folder / f"mix/{name}.png").read_bytes()) for name in ("recorded", "replayed"))
    assert int(cv2.absdiff(then, now).max()) == mix["difference"]["most"]
    drawn = Image.open(folder / "mix/difference.png")
    drawn.load()
    assert NOTICE in drawn.text["backlot:notice"]  # type: ignore[attr-defined]
    assert np.asarray(drawn).max() == 255
    with pytest.raises(InputError, match="is not empty"):
        told(here, "false", capsys, keep_in=folder)


def test_people_get_a_table_with_the_weights_called_what_they_are(here: Services, capsys: pytest.CaptureFixture[str],
                                                                  ) -> None:
    code, text = words(here, "false", capsys, at=("mix", "upscale"))
    assert code == 1
    lines = text.splitlines()
    assert lines[0] == "Replay of false  omni-bg, profile tiny, needs_review"
    assert NOTICE in lines[1]
    [row] = [line for line in lines if line.startswith("mix ")]
    assert row.split()[:5] == ["mix", "mix", str(PASSES["mix"].version), "false", "differs"]
    assert "levels, mean " in row
    assert "  mix: nothing recorded explains it" in text
    assert lines[-1] == "Bit-equal: 1 of 2 results (differs: mix)."
    assert words(here, "short", capsys, at=("lines", "mix"))[1].splitlines()[-1] == "Bit-equal: 1 of 1 results."


def test_what_changed_around_a_pass_is_named(here: Services, capsys: pytest.CaptureFixture[str],
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    with here.database.write() as connection:
        stored = connection.execute(select(environment.c.env_id, environment.c.versions)).all()
        for env_id, versions in stored:
            connection.execute(update(environment).where(environment.c.env_id == env_id)
                               .values(versions={**versions, "torch": "0.9"}))
    try:
        code, text = words(here, "whole", capsys, at=("place", "lines"))
        assert code == 0
        assert "Otherwise than recorded, and equal all the same: torch 0.9 -> " in text
        assert "(place, lines)" in text
        code, text = words(here, "false", capsys, at=("mix",))
        assert code == 1
        assert "  mix: otherwise than recorded: torch 0.9 -> " in text
        assert "nothing recorded explains it" not in text
    finally:
        with here.database.write() as connection:
            for env_id, versions in stored:
                connection.execute(update(environment).where(environment.c.env_id == env_id).values(versions=versions))


def test_of_a_job_that_failed_on_the_way_the_rest_was_never_reached(here: Services, capsys: pytest.CaptureFixture[str],
                                                                    ) -> None:
    whole = here.lineage.job("whole")
    here.ledger.open_job(NewJob(job_id="half", pipeline="omni-bg", profile="tiny", requested=whole.requested,
                                resolved=whole.resolved, schema_version=1))
    assert words(here, "half", capsys) == (1, words(here, "half", capsys)[1])
    assert words(here, "half", capsys)[1].splitlines()[-1].startswith(
        "Nothing to replay: no result is recorded. The job never reached cut_out, place")
    with here.database.write() as connection:
        rows = connection.execute(select(job_pass).where(job_pass.c.job_id == "whole", job_pass.c.position <= 2)).all()
        connection.execute(job_pass.insert(), [{**row._mapping, "job_id": "half"} for row in rows])
    code, report = told(here, "half", capsys)
    assert (code, report["state"], report["bit_equal"]) == (0, "running", True)
    assert verdicts(report) == {at: "bit-equal" if at in ("cut_out", "place") else "not reached" for at in WHOLE}


def test_unknown_jobs_places_documents_and_pipelines_are_one_clear_line(
        here: Services, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(JobNotFound, match="'no-such'"):
        words(here, "no-such", capsys)
    with pytest.raises(DocumentError, match=r"--at='third': is no place of this job\. Allowed: cut_out, place"):
        words(here, "whole", capsys, at=("third",))
    for job_id, changes, message in (
            ("newer", {"resolved": {"schema_version": 2}}, r"JOB='newer': its stored document \(schema version 1\)"),
            ("alien", {"pipeline": "flux-lora"}, "PIPELINE='flux-lora'")):
        here.ledger.open_job(NewJob(job_id=job_id, pipeline="omni-bg", profile="tiny", requested={}, resolved={},
                                    schema_version=1))
        with here.database.write() as connection:
            connection.execute(update(job).where(job.c.job_id == job_id).values(**changes))
        with pytest.raises(DocumentError, match=message) as refused:
            words(here, job_id, capsys)
        assert "\n" not in str(refused.value)


def test_a_folder_that_cannot_be_made_is_refused_before_anything_runs(
        here: Services, photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=r"--keep=.*cannot be made or read"):
        words(here, "whole", capsys, keep_in=photo / "below-a-file")
    assert capsys.readouterr().out == ""


def test_what_was_replayed_is_told_although_it_was_broken_off(
        here: Services, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object, **pictures: object) -> Picture:
        raise KeyboardInterrupt

    monkeypatch.setattr("models.place.place", interrupted)
    work.resolve_function.cache_clear()
    try:
        with pytest.raises(KeyboardInterrupt):
            words(here, "whole", capsys, at=("cut_out", "place"))
    finally:
        work.resolve_function.cache_clear()
    assert capsys.readouterr().out.splitlines()[-1] == "Bit-equal: 1 of 1 results, and the replay was broken off."
