"""Whole jobs on tiny weights under a real Prefect server."""

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from omni_bg_jobs import CANARY, document, services
from PIL import Image

from flows.omni_bg import omni_bg
from models.errors import InputError, WeightsError
from models.pictures import Picture
from storage.errors import JobConflict, SourceError
from storage.settings import Settings
from tasks import run_pass, work
from tasks.progress import Event, PassEnded, listening
from tasks.services import Services, use

EVERY_PASS = ["cut_out", "place", "outpaint", "lines", "first_depth", "first", "second_depth", "second", "relight",
              "mix", "placed_large", "upscale"]

pytest_plugins = ["omni_bg_jobs"]


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def made(prefect_server: str, shared_home: Path, photo: Path) -> Services:
    """A home in which the job "base" has run with everything on; tests add jobs of their own to it."""
    with use(services(shared_home)) as first:
        omni_bg(document(photo, "base", final_step_upscale_4x=True, first_pass_depth_strength=0.5, debug_mode=True))
        return first


@pytest.fixture
def again(made: Services, shared_home: Path) -> Generator[Services]:
    """The same home as a new process would see it: nothing decoded, nothing loaded."""
    with use(services(shared_home)) as fresh:
        yield fresh


def dispositions(here: Services, job_id: str) -> dict[str, str]:
    return {row.at: row.disposition for row in here.lineage.passes(job_id)}


def pixels(here: Services, job_id: str, at: str) -> Picture:
    row = next(row for row in here.lineage.passes(job_id) if row.at == at)
    return here.picture(next(iter(row.outputs.values())))


def delivered(here: Services, job_id: str, role: str) -> Image.Image:
    uri = next(uri for name, _, uri in here.lineage.outputs(job_id) if name == role)
    return Image.open(uri.removeprefix("file://"))


BASE = {"final_step_upscale_4x": True, "first_pass_depth_strength": 0.5}


def test_every_pass_runs_and_the_steps_are_the_ones_asked_for(made: Services) -> None:
    rows = made.lineage.passes("base")
    assert [(row.at, row.disposition) for row in rows] == [(at, "executed") for at in EVERY_PASS]
    assert {row.at: row.model_calls for row in rows if row.model_calls} == {
        "first_depth": 1, "first": 10, "second_depth": 1, "second": 10, "relight": 19, "upscale": 1}
    assert made.lineage.job("base").state == "completed"


def test_debug_mode_delivers_every_picture_and_the_final_one_last(made: Services) -> None:
    assert [role for role, _, _ in made.lineage.outputs("base")] == ["photo", *EVERY_PASS, "final"]
    assert delivered(made, "base", "final").size == (4 * 96, 4 * 64)
    assert delivered(made, "base", "lines").size == (96, 64)


def test_delivered_pictures_say_what_they_are_and_nothing_of_the_inputs_metadata(made: Services) -> None:
    for _, artifact, uri in made.lineage.outputs("base"):
        path = Path(uri.removeprefix("file://"))
        assert CANARY.encode() not in path.read_bytes()
        opened = Image.open(path)
        opened.load()
        text: dict[str, str] = opened.text  # type: ignore[attr-defined]
        assert (text["backlot:job_id"], text["backlot:artifact"]) == ("base", artifact.digest)
        assert "tiny random weights" in text["backlot:notice"]


def test_the_same_document_again_reuses_everything_and_loads_nothing(again: Services, photo: Path) -> None:
    omni_bg(document(photo, "same", **BASE))
    assert dispositions(again, "same") == dict.fromkeys(EVERY_PASS, "reused")
    assert again.zoo.loaded == ()
    assert {row.made_by_job for row in again.lineage.passes("same")} == {"base"}
    assert delivered(again, "same", "final").tobytes() == delivered(again, "base", "final").tobytes()


def test_a_reused_pass_ends_in_prefects_state_cached_naming_the_job(again: Services, photo: Path) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    state = omni_bg(document(photo, "cached", **BASE), return_state=True)
    run_id = state.state_details.flow_run_id
    assert run_id is not None
    with get_client(sync_client=True) as client:
        runs = _wait_for(lambda: client.read_task_runs(
            flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run_id]))), len(EVERY_PASS) + 3)
    states = {run.name: (run.state.name, run.state.message) for run in runs if run.state}
    for at in EVERY_PASS:
        assert states[f"{at} of cached"] == ("Cached", "reused from job base")
    assert states["ingest of cached"][0] == "Completed"


def _wait_for(read: Callable[[], Any], count: int) -> Any:
    """Prefect records task runs a moment after they ended."""
    import time

    for _ in range(100):
        found = read()
        if len(found) >= count and all(run.state and run.state.is_final() for run in found):
            return found
        time.sleep(0.1)
    return read()


def test_another_light_mix_re_runs_mix_and_what_lies_below(again: Services, photo: Path) -> None:
    omni_bg(document(photo, "mixed", **BASE, light_mix_scale=0.8))
    assert [at for at, how in dispositions(again, "mixed").items() if how == "executed"] == ["mix", "upscale"]
    why = {answer.at: answer for answer in again.lineage.why("mixed")}
    assert [(change.part, change.before, change.after) for change in why["mix"].changes] == [
        ("params.light_mix_scale", 0.5, 0.8)]


def test_refresh_makes_one_pass_anew(again: Services, photo: Path) -> None:
    omni_bg(document(photo, "refreshed", **BASE), refresh=("lines",))
    assert [at for at, how in dispositions(again, "refreshed").items() if how == "executed"] == ["lines"]


def test_lost_bytes_are_made_anew_and_the_rest_reused(again: Services, photo: Path) -> None:
    row = next(row for row in again.lineage.passes("base") if row.at == "place")
    Path(again.store.uri(row.outputs["placed"].digest).removeprefix("file://")).unlink()
    omni_bg(document(photo, "healed", **BASE))
    assert [at for at, how in dispositions(again, "healed").items() if how == "executed"] == ["place"]


def test_bytes_lost_in_the_middle_of_a_job_heal_within_it(again: Services, photo: Path,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    """The placed product vanishes after it was found whole: when the relight is recorded, before the mix reads it."""
    row = next(row for row in again.lineage.passes("base") if row.at == "place")
    victim = Path(again.store.uri(row.outputs["placed"].digest).removeprefix("file://"))

    def vanish(zoo: object) -> dict[str, str]:
        victim.unlink(missing_ok=True)
        again._pictures.clear()
        monkeypatch.undo()
        return {"torch": "any"}

    monkeypatch.setattr(run_pass, "environment", vanish)
    omni_bg(document(photo, "shaken", **BASE, light_pass_guidance_scale=3.0))
    assert again.lineage.job("shaken").state == "completed"
    assert dispositions(again, "shaken")["place"] == "executed"
    assert delivered(again, "shaken", "final").size == (384, 256)


def test_without_the_light_pass_the_products_core_is_the_placed_products_own(again: Services, photo: Path) -> None:
    omni_bg(document(photo, "unlit", skip_light_pass=True))
    placed = pixels(again, "unlit", "place")
    core = cv2.erode((placed[:, :, 3] == 255).astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0) > 0
    final = np.asarray(delivered(again, "unlit", "final"))
    assert core.sum() > 300
    assert np.array_equal(final[core], placed[:, :, :3][core])
    assert not np.array_equal(final[~core], placed[:, :, :3][~core])


def test_skipped_passes_are_rows_with_a_reason(again: Services, photo: Path) -> None:
    omni_bg(document(photo, "short", skip_second_pass=True, skip_light_pass=True))
    skipped = {row.at: row.reason for row in again.lineage.passes("short") if row.disposition == "skipped"}
    assert skipped == {
        "first_depth": "first_pass_depth_strength is 0", "second_depth": "skip_second_pass",
        "second": "skip_second_pass", "relight": "skip_light_pass", "mix": "skip_light_pass",
        "placed_large": "final_step_upscale_4x is off", "upscale": "final_step_upscale_4x is off"}


def test_a_drawn_seed_is_stored_and_a_resumed_job_keeps_it(here: Services, photo: Path,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    asked = document(photo, "resumed", seed=-1, skip_light_pass=True, skip_second_pass=True)
    with monkeypatch.context() as patch:
        patch.setattr("models.control_maps.lines", _interrupt)
        work.resolve_function.cache_clear()
        with pytest.raises(KeyboardInterrupt):
            omni_bg(asked)
    work.resolve_function.cache_clear()
    interrupted = here.lineage.job("resumed")
    assert interrupted.state == "interrupted"
    assert dispositions(here, "resumed") == {"cut_out": "executed", "place": "executed", "outpaint": "executed"}

    events: list[Event] = []
    with listening(events.append):
        omni_bg(asked)

    assert [(event.at, event.disposition) for event in events if isinstance(event, PassEnded)][:4] == [
        ("cut_out", "reused"), ("place", "reused"), ("outpaint", "reused"), ("lines", "executed")]
    finished = here.lineage.job("resumed")
    assert finished.state == "completed"
    assert finished.resolved == interrupted.resolved
    assert finished.resolved["document"]["seed"] >= 0
    assert len(here.lineage.jobs(10)) == 1


def _interrupt(*args: object, **inputs: object) -> None:
    raise KeyboardInterrupt


def test_a_passing_failure_is_tried_again_by_prefect_and_lineage_keeps_both_attempts(
        here: Services, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines, failures = work.resolve_function("models.control_maps:lines"), [ConnectionResetError("the line dropped")]

    def shaky(*args: Any, **inputs: Any) -> Any:
        if failures:
            raise failures.pop()
        return lines(*args, **inputs)

    with monkeypatch.context() as patch:
        patch.setattr("models.control_maps.lines", shaky)
        work.resolve_function.cache_clear()
        omni_bg(document(photo, "shaky", skip_light_pass=True, skip_second_pass=True))
    work.resolve_function.cache_clear()
    assert dispositions(here, "shaky")["lines"] == "executed"
    with here.database.read() as connection:
        tries = connection.exec_driver_sql(
            "SELECT attempt, state, failure_class FROM pass_execution WHERE pass_name = 'lines' ORDER BY attempt").all()
    assert [tuple(row) for row in tries] == [(1, "failed", "transient-fast"), (2, "succeeded", None)]


def test_a_permanent_failure_is_never_tried_again(here: Services, photo: Path,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*args: Any, **inputs: Any) -> Any:
        raise InputError("is not liked", field="image", value="box", remedy="Give another")

    with monkeypatch.context() as patch:
        patch.setattr("models.control_maps.lines", refuses)
        work.resolve_function.cache_clear()
        with pytest.raises(InputError, match="not liked"):
            omni_bg(document(photo, "refused", skip_light_pass=True, skip_second_pass=True))
    work.resolve_function.cache_clear()
    with here.database.read() as connection:
        tries = connection.exec_driver_sql("SELECT state FROM pass_execution WHERE pass_name = 'lines'").all()
    assert [tuple(row) for row in tries] == [("failed",)]


def test_an_unknown_pass_to_refresh_is_refused(here: Services, photo: Path) -> None:
    with pytest.raises(Exception, match="refresh='linse': is not a pass"):
        omni_bg(document(photo, "typo"), refresh=("linse",))


def test_a_broken_photo_fails_the_job_with_one_clear_error(here: Services, photo: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(photo.read_bytes()[:2000])
    with pytest.raises(InputError, match="image="):
        omni_bg(document(broken, "broken"))
    job = here.lineage.job("broken")
    assert job.state == "failed"
    assert job.error is not None
    assert (job.error["class"], job.error["field"]) == ("permanent-input", "image")


def test_a_photo_outside_the_input_roots_is_refused(prefect_server: str, photo: Path, tmp_path: Path) -> None:
    with use(Services(settings=Settings(home=tmp_path))) as guarded:
        with pytest.raises(Exception, match="outside the folders a document may read"):
            omni_bg(document(photo, "outside"))
        assert guarded.lineage.job("outside").state == "failed"


def test_a_job_id_belongs_to_one_document(again: Services, photo: Path) -> None:
    with pytest.raises(JobConflict, match="base"):
        omni_bg(document(photo, "base", seed=8))
    assert again.lineage.job("base").state == "completed"


def test_a_job_without_an_id_is_named_by_its_flow_run(again: Services, photo: Path) -> None:
    state = omni_bg(document(photo, None, **BASE), return_state=True)
    assert again.lineage.job(f"job-{state.state_details.flow_run_id}").state == "completed"


def test_an_image_that_carries_a_secret_is_refused_before_its_job_is_stored(here: Services, photo: Path) -> None:
    with pytest.raises(SourceError, match="carries a signature") as refused:
        omni_bg(document(photo, "secret", image="https://shop.example/box.jpg?X-Amz-Signature=canary"))
    assert "canary" not in str(refused.value)
    assert not here.lineage.has_job("secret")


def test_where_a_failure_cannot_be_recorded_it_is_still_the_failure_that_is_told(
        here: Services, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **named: object) -> None:
        raise OSError(28, "No space left on device")

    broken = tmp_path / "broken.jpg"
    broken.write_bytes(photo.read_bytes()[:500])
    monkeypatch.setattr(here.ledger, "close_job", full)
    with pytest.raises(InputError, match="cut off"):
        omni_bg(document(broken, "twice-wrong"))


def test_a_way_whose_weights_are_missing_is_refused_before_the_job_is_opened(
        prefect_server: str, tmp_path: Path, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with the profile sdxl where nobody fetched its optional file."""
    settings = Settings(home=tmp_path, input_roots=(Path("/"),), lines="teed")
    with use(Services(settings=settings)) as here:
        pinned = {role: model for role, model in here.pinned("tiny").items() if role != "lines"}
        monkeypatch.setattr(Services, "pinned", lambda self, name: pinned)
        with pytest.raises(WeightsError, match="BACKLOT_LINES='teed': needs weights for lines, and the profile tiny"):
            omni_bg(document(photo, "no-lines"))
        assert not here.lineage.has_job("no-lines")
