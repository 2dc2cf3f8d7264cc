"""What the house chooses, kept with the job."""

from pathlib import Path

import pytest

from flows.documents import validate
from flows.methods import Methods, chosen
from flows.omni_bg_document import OmniBgParams
from flows.omni_bg_resolve import ResolvedOmniBg, resolve
from models.errors import WeightsError
from storage.errors import SettingsError
from storage.settings import Settings
from tasks.jobs import check_weights
from tasks.profiles import has_real_matting
from tasks.services import Services, use

ASKED = {"image": "bottle.jpg", "subject": "a bottle", "placed_on": "a table", "background": "", "camera_angle": "",
         "camera_orientation": "", "main_light_direction": "", "proposed_background": "", "proposed_brightness": 0.2,
         "seed": 7}


def test_a_setting_becomes_part_of_the_resolved_document(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKLOT_SPACING", "ays")
    resolved = resolve(validate(OmniBgParams, ASKED), min_side=64, methods=chosen(Settings()))
    assert resolved.model_dump(mode="json")["methods"]["spacing"] == "ays"
    assert ResolvedOmniBg.model_validate(resolved.model_dump(mode="json")) == resolved


@pytest.mark.parametrize(("setting", "real", "way"), [
    ("auto", False, "classical"), ("auto", True, "neural"), ("classical", True, "classical"),
    ("neural", False, "neural"), ("neural", True, "neural")])
def test_auto_mattes_by_the_network_where_its_real_weights_are(setting: str, real: bool, way: str) -> None:
    assert chosen(Settings(matting=setting), real_matting=real).matting == way


def test_toy_weights_are_no_real_ones(tmp_path: Path) -> None:
    with use(Services(settings=Settings(home=tmp_path))):
        assert not has_real_matting("tiny")


def test_the_line_detector_is_chosen_by_a_setting_and_is_our_canny_where_nobody_chose(
        monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(Settings()).lines == Methods().lines == "canny"
    monkeypatch.setenv("BACKLOT_LINES", "lineart_standard")
    assert chosen(Settings()).lines == "lineart_standard"
    monkeypatch.setenv("BACKLOT_LINES", "hed")
    with pytest.raises(SettingsError, match=r"BACKLOT_LINES='hed'.*'canny'.*'teed'"):
        Settings()


def test_a_document_resolved_before_there_was_a_choice_means_what_there_was() -> None:
    stored = resolve(validate(OmniBgParams, ASKED), min_side=64, methods=Methods(spacing="ays")).model_dump(mode="json")
    del stored["methods"]
    assert ResolvedOmniBg.model_validate(stored).methods == Methods(spacing="karras", matting="classical")


def test_a_way_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKLOT_SPACING", "linear")
    with pytest.raises(SettingsError, match=r"BACKLOT_SPACING='linear'.*'karras' or 'ays'"):
        Settings()


def test_a_neural_way_without_its_weights_is_refused_by_the_settings_name(tmp_path: Path) -> None:
    with use(Services(settings=Settings(home=tmp_path))) as here:
        here._pins["tiny"] = {role: model for role, model in here.pinned("tiny").items() if role != "matting"}
        check_weights("tiny", Methods().may_need_weights())
        with pytest.raises(WeightsError, match=r"BACKLOT_MATTING='neural': needs weights for matting.*choose another "
                                               r"way: pictures of a photo with a mask are the same by each$"):
            check_weights("tiny", Methods(matting="neural").may_need_weights())
