"""What the house chooses, kept with the job."""

from pathlib import Path

import pytest

from flows.documents import validate
from flows.methods import Methods, chosen
from flows.omni_bg_document import OmniBgParams
from flows.omni_bg_resolve import ResolvedOmniBg, resolve
from storage.errors import SettingsError
from storage.settings import Settings
from tasks.profiles import MattingWeights, matting_weights
from tasks.services import Services, use

ASKED = {"image": "bottle.jpg", "subject": "a bottle", "placed_on": "a table", "background": "", "camera_angle": "",
         "camera_orientation": "", "main_light_direction": "", "proposed_background": "", "proposed_brightness": 0.2,
         "seed": 7}


def test_a_setting_becomes_part_of_the_resolved_document(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKLOT_SPACING", "ays")
    resolved = resolve(validate(OmniBgParams, ASKED), min_side=64, methods=chosen(Settings(), "none"))
    assert resolved.model_dump(mode="json")["methods"]["spacing"] == "ays"
    assert ResolvedOmniBg.model_validate(resolved.model_dump(mode="json")) == resolved


@pytest.mark.parametrize(("setting", "weights", "way"), [
    ("auto", "none", "classical"), ("auto", "toy", "classical"), ("auto", "real", "neural"),
    ("classical", "real", "classical"), ("neural", "toy", "neural"), ("neural", "real", "neural")])
def test_auto_mattes_by_the_network_where_its_real_weights_are(setting: str, weights: MattingWeights, way: str) -> None:
    assert chosen(Settings(matting=setting), weights).matting == way


def test_a_way_whose_weights_are_not_here_is_refused_with_what_to_do() -> None:
    with pytest.raises(SettingsError, match=r"BACKLOT_MATTING='neural'.*are not here.*weights list") as caught:
        chosen(Settings(matting="neural"), "none")
    assert "\n" not in str(caught.value)


def test_what_lies_of_a_profiles_matting_network_is_known(tmp_path: Path) -> None:
    with use(Services(settings=Settings(home=tmp_path))):
        assert matting_weights("tiny") == "toy"


def test_a_document_resolved_before_there_was_a_choice_means_what_there_was() -> None:
    stored = resolve(validate(OmniBgParams, ASKED), min_side=64, methods=Methods(spacing="ays")).model_dump(mode="json")
    del stored["methods"]
    assert ResolvedOmniBg.model_validate(stored).methods == Methods(spacing="karras", matting="classical")


def test_a_way_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKLOT_SPACING", "linear")
    with pytest.raises(SettingsError, match=r"BACKLOT_SPACING='linear'.*'karras' or 'ays'"):
        Settings()
