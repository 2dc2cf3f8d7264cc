"""Whole jobs whose product is measured before it is delivered."""

from pathlib import Path
from typing import Any

import pytest
from omni_bg_jobs import document

from flows.omni_bg import omni_bg
from models.pictures import Picture
from storage.verify import verify
from tasks import work
from tasks.services import Services, use

pytest_plugins = ["omni_bg_jobs"]

LARGE = {"width": 192, "height": 160, "skip_second_pass": True, "debug_mode": True}  # room for a tile of 32 px


def test_a_job_says_how_true_its_product_is_and_one_that_falsified_it_waits_for_a_person(
        here: Services, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    omni_bg(document(photo, "true", **LARGE))
    found = {one.name: one for one in here.lineage.judgements("true")}
    assert set(found) == {"min_tile_ncc", "clipped_share", "expansion"}
    assert found["min_tile_ncc"].verdict == "pass"
    assert (found["min_tile_ncc"].value or 0) > 0.98
    assert here.lineage.job("true").state == "completed"

    mix = work.resolve_function("models.mix:mix")

    def falsifying(params: Any, context: Any, **pictures: Picture) -> Picture:
        made = mix(params, context, **pictures)
        made[60:100, 70:120] = made[60:100, 70:120][::-1, ::-1].copy()
        return made

    monkeypatch.setattr("models.mix.mix", falsifying)
    work.resolve_function.cache_clear()
    try:
        state = omni_bg(document(photo, "false", **LARGE), refresh=("mix",), return_state=True)
    finally:
        work.resolve_function.cache_clear()
    assert here.lineage.job("false").state == "needs_review"
    roles = [role for role, _, _ in here.lineage.outputs("false")]
    assert roles == [role for role, _, _ in here.lineage.outputs("true") if role != "final"]
    assert (state.name, state.is_completed(), len(state.result())) == ("NeedsReview", True, len(roles))
    assert state.message == ("the product in the picture is not the product any more; `backlot show false` says where")
    [failed] = [one for one in here.lineage.judgements("false") if one.verdict == "fail"]
    assert failed.name == "min_tile_ncc"
    assert verify(here.database, here.settings).faults == ()


def test_a_delivered_picture_that_passes_no_more_is_withdrawn_and_one_that_passed_stays(
        here: Services, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {name: document(photo, name, **{**LARGE, "debug_mode": False, "light_mix_scale": scale})
             for name, scale in (("one", 0.5), ("two", 0.6))}
    files = {name: Path(omni_bg(document)[-1].removeprefix("file://")) for name, document in asked.items()}
    passed = files["two"].read_bytes()
    strict = Services(settings=here.settings.model_copy(update={"min_tile_ncc": 0.9999999}))
    with use(strict):
        omni_bg(asked["one"], return_state=True)
        assert here.lineage.job("one").state == "needs_review"
        assert here.lineage.outputs("one") == []
        assert not files["one"].exists()

        mix = work.resolve_function("models.mix:mix")
        monkeypatch.setattr("models.mix.mix", lambda params, context, **given: 255 - mix(params, context, **given))
        work.resolve_function.cache_clear()
        try:
            omni_bg(asked["two"], refresh=("mix",), return_state=True)
        finally:
            work.resolve_function.cache_clear()
        assert here.lineage.job("two").state == "needs_review"
        assert [role for role, _, _ in here.lineage.outputs("two")] == ["final"]
        assert files["two"].read_bytes() == passed
    assert verify(here.database, here.settings).faults == ()
    omni_bg(asked["one"])
    assert here.lineage.job("one").state == "completed"
    assert files["one"].exists()
