"""Weights that only one way of a pass needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.methods import Methods
from models.errors import WeightsError
from models.params import LinesParams
from models.passes import PASSES
from models.profiles import PROFILES
from models.weights import PinnedModel
from storage.settings import Settings
from tasks import jobs
from tasks.services import Services
from tasks.work import weights_for

LINES = PASSES["lines"]


@pytest.fixture
def without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    """Services whose profile sdxl has everything pinned but the optional files."""
    here = Services(settings=Settings(home=tmp_path))
    pinned = {role: PinnedModel(spec=spec, digest="0" * 64) for role, spec in PROFILES["sdxl"].models.items()
              if role != "lines"}
    monkeypatch.setattr(Services, "pinned", lambda self, name: pinned)
    return here


def test_a_chosen_way_whose_weights_are_not_here_is_one_error_that_names_the_setting(without: Services) -> None:
    with pytest.raises(WeightsError) as caught:
        weights_for(without, "sdxl", LINES, LinesParams(detector="teed"), LINES.roles)
    assert str(caught.value) == (
        "BACKLOT_LINES='teed': needs weights for lines, and the profile sdxl has none here. Get them with "
        "`backlot weights pull --profile sdxl --only lines`, or choose another way: pictures of a job whose line "
        "strengths are 0 are the same by each")


def test_it_is_refused_before_a_job_is_opened(without: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "services", lambda: without)
    jobs.check_weights("sdxl", Methods(lines="canny").may_need_weights())
    with pytest.raises(WeightsError, match="BACKLOT_LINES='teed'"):
        jobs.check_weights("sdxl", Methods(lines="teed").may_need_weights())


@pytest.mark.parametrize("detector", ["canny", "canny_fixed", "lineart_standard"])
def test_the_other_ways_need_none(without: Services, detector: str) -> None:
    assert weights_for(without, "sdxl", LINES, LinesParams.model_validate({"detector": detector}), LINES.roles) == {}


def test_the_tiny_profile_has_them_all(tmp_path: Path) -> None:
    here = Services(settings=Settings(home=tmp_path))
    assert set(weights_for(here, "tiny", LINES, LinesParams(detector="teed"), LINES.roles)) == {"lines"}
