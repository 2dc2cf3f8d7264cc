"""What the house chooses, kept with the job."""

import pytest

from flows.documents import validate
from flows.methods import Methods, chosen
from flows.omni_bg_document import OmniBgParams
from flows.omni_bg_resolve import ResolvedOmniBg, resolve
from storage.errors import SettingsError
from storage.settings import Settings

ASKED = {"image": "bottle.jpg", "subject": "a bottle", "placed_on": "a table", "background": "", "camera_angle": "",
         "camera_orientation": "", "main_light_direction": "", "proposed_background": "", "proposed_brightness": 0.2,
         "seed": 7}


def test_a_setting_becomes_part_of_the_resolved_document(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKLOT_SPACING", "ays")
    resolved = resolve(validate(OmniBgParams, ASKED), min_side=64, methods=chosen(Settings()))
    assert resolved.model_dump(mode="json")["methods"]["spacing"] == "ays"
    assert ResolvedOmniBg.model_validate(resolved.model_dump(mode="json")) == resolved


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
    assert ResolvedOmniBg.model_validate(stored).methods == Methods(spacing="karras")


def test_a_way_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKLOT_SPACING", "linear")
    with pytest.raises(SettingsError, match=r"BACKLOT_SPACING='linear'.*'karras' or 'ays'"):
        Settings()
