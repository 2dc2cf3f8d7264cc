import json
from pathlib import Path

import pytest

from flows.documents import DocumentError, derive_seed, parse_text, read_document, validate
from flows.omni_bg_document import OmniBgParams

BASE = {
    "image": "bottle.jpg", "subject": "a bottle", "placed_on": "a table", "background": "a kitchen",
    "camera_orientation": "front view", "camera_angle": "eye level", "main_light_direction": "light from the left",
    "proposed_background": "a bar", "proposed_brightness": 0.2,
}
SEED_SCHEMA = json.loads((Path(__file__).parent / "omni_bg_schema.json").read_text())


def document(**changes: object) -> OmniBgParams:
    return validate(OmniBgParams, {**BASE, **changes})


def problem(**changes: object) -> str:
    with pytest.raises(DocumentError) as caught:
        document(**changes)
    return str(caught.value)


@pytest.mark.parametrize("field", SEED_SCHEMA["properties"])
def test_every_field_of_the_published_schema_is_ours_too(field: str) -> None:
    ours = dict(OmniBgParams.model_json_schema()["properties"][field])
    theirs = dict(SEED_SCHEMA["properties"][field])
    assert ours.pop("position") == theirs["x-order"]
    ours.pop("pattern", None)    # job_id: a plain id
    ours.pop("maxLength", None)  # texts: 2,000 characters
    if field == "image":
        theirs.pop("format")     # ours may be a local path too
    assert ours == theirs


def test_the_schema_has_the_same_41_fields_and_requires_the_same_nine() -> None:
    ours = OmniBgParams.model_json_schema()
    assert set(ours["properties"]) == set(SEED_SCHEMA["properties"])
    assert len(ours["properties"]) == 41
    assert ours["required"] == SEED_SCHEMA["required"]
    assert ours["additionalProperties"] is False


def test_a_number_out_of_range_is_refused_with_field_value_and_range() -> None:
    assert problem(first_pass_steps=9) == (
        "first_pass_steps=9: input should be greater than or equal to 10. Allowed: whole number from 10 to 50")


def test_an_unknown_field_is_refused_with_the_nearest_name() -> None:
    message = problem(light_mix_scal=0.5)
    assert message.startswith("light_mix_scal=0.5: is not a field of this document. Did you mean light_mix_scale?")


def test_a_missing_field_is_named() -> None:
    with pytest.raises(DocumentError) as caught:
        validate(OmniBgParams, {name: value for name, value in BASE.items() if name != "subject"})
    assert str(caught.value) == "subject=None: is required. Give subject of the image"


def test_every_problem_is_reported_at_once() -> None:
    with pytest.raises(DocumentError) as caught:
        document(first_pass_steps=9, seed="seven")
    assert [item.field for item in caught.value.problems] == ["seed", "first_pass_steps"]


@pytest.mark.parametrize(("field", "value"), [
    ("seed", "7"), ("seed", 7.0), ("seed", True), ("seed", -2), ("seed", 2**32), ("force_center", 1),
    ("force_center", "yes"), ("subject", 5), ("subject", None), ("subject", "x" * 2001), ("proposed_brightness", "0.5"),
    ("proposed_brightness", float("nan")), ("proposed_brightness", float("inf")), ("width", 8), ("width", 4097),
    ("object_padding", 1.1), ("object_padding", -0.1), ("background_brightness", -1.01), ("first_pass_pag_scale", 0.4),
    ("job_id", "../up"), ("job_id", ""), ("job_id", "a" * 129), ("image", "  "), ("light_pass_steps", 51),
])
def test_wrong_types_and_values_are_refused_by_name(field: str, value: object) -> None:
    assert problem(**{field: value}).startswith(f"{field}=")


def test_more_than_four_megapixels_are_refused_after_rounding() -> None:
    assert problem(width=2100, height=2100).startswith(
        "width x height='2100 x 2100': is over the 4194304 pixels (4 MP) a picture may have.")
    assert document(width=2048, height=2048).width == 2048


def test_a_strength_too_small_for_its_steps_is_refused_before_anything_runs_naming_both() -> None:
    assert problem(second_pass_i2i_strength=0.005, second_pass_steps=20) == (
        "second_pass_i2i_strength=0.005: with second_pass_steps=20 would be the end of a schedule of 4000 steps, and "
        "there are 1000 noise levels. Allowed: 0, or at least 0.02 with so many steps")
    assert document(second_pass_i2i_strength=0.02, second_pass_steps=20)
    assert document(first_pass_i2i_strength=0)


def test_a_job_id_that_is_no_plain_word_is_one_clear_line() -> None:
    assert problem(job_id="../up") == (
        "job_id='../up': is not a plain id. Allowed: letters, digits, '.', '_' and '-', beginning with a letter or "
        "digit, at most 128")


def test_whole_numbers_are_numbers() -> None:
    assert document(light_mix_scale=1).light_mix_scale == 1.0


def test_yaml_and_json_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("seed: 7\nsubject: a cup\n")
    (tmp_path / "a.json").write_text('{"seed": 7, "subject": "a cup"}')
    assert read_document(tmp_path / "a.yaml") == read_document(tmp_path / "a.json") == {"seed": 7, "subject": "a cup"}


@pytest.mark.parametrize(("name", "text", "said"), [
    ("a.yaml", "seed: 7\nseed: 8\n", "'seed' stands twice"),
    ("a.json", '{"seed": 7, "seed": 8}', "'seed' stands twice"),
    ("a.json", '{"proposed_brightness": NaN}', "not a finite number"),
    ("a.json", "{", "not valid JSON"),
    ("a.yaml", "a: [", "not valid YAML"),
    ("a.yaml", "- 1\n- 2\n", "holds a list"),
    ("a.yaml", "!!python/object/apply:os.system ['true']", "not valid YAML"),
])
def test_a_faulty_file_is_one_clear_error(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DocumentError, match=said):
        read_document(tmp_path / name)


def test_a_missing_or_binary_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="no such file"):
        read_document(tmp_path / "none.yaml")
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DocumentError, match="UTF-8"):
        read_document(tmp_path / "b.yaml")


@pytest.mark.parametrize(("field", "text", "value"), [
    ("seed", "12", 12), ("seed", "-1", -1), ("light_mix_scale", "0.7", 0.7), ("force_center", "true", True),
    ("force_center", "no", False), ("subject", "12", "12"), ("job_id", "a-1", "a-1"),
])
def test_command_line_text_becomes_the_fields_own_type(field: str, text: str, value: object) -> None:
    parsed = parse_text(OmniBgParams, field, text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(("field", "text", "said"), [
    ("seed", "1.5", "seed='1.5': is not a whole number"), ("light_mix_scale", "half", "is not a number"),
    ("force_center", "perhaps", "is not a true or false"),
])
def test_command_line_text_that_does_not_parse_is_refused(field: str, text: str, said: str) -> None:
    with pytest.raises(DocumentError, match=said):
        parse_text(OmniBgParams, field, text)


def test_stage_seeds_differ_and_stay() -> None:
    assert derive_seed(7, "first") == derive_seed(7, "first")
    assert len({derive_seed(7, stage) for stage in ("first", "second", "light")} | {derive_seed(8, "first")}) == 4
    assert 0 <= derive_seed(2**32 - 1, "light") < 2**32
