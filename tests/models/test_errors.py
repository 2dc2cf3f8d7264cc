"""Errors of passes say one line, and survive the way between processes."""

from __future__ import annotations

import pickle

import pytest

from models.errors import InputError, MemoryExhausted, PassError, PhotoRefused, WeightsError

ERRORS = [
    PassError("torch finds no GPU here", field="device", value="cuda", remedy='Set it to "cpu"'),
    InputError("is broken", field="image", value="a.jpg", remedy="Give another"),
    PhotoRefused("truncated", "is cut off", name="a.jpg", remedy="Give another"),
    WeightsError("is missing", field="weights_dir", value="weights", remedy="Fetch it"),
    MemoryExhausted("the memory does not suffice", field="width x height", value="64 x 64", remedy="Use smaller ones"),
]


def test_every_error_of_the_module_is_tried_here() -> None:
    assert {type(error) for error in ERRORS} == {PassError, InputError, PhotoRefused, WeightsError,
                                                   MemoryExhausted}
    assert {kind for kind in vars(__import__("models.errors", fromlist=["x"])).values()
            if isinstance(kind, type) and issubclass(kind, Exception)} == {type(error) for error in ERRORS}


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_is_one_line_of_field_value_and_remedy(error: PassError) -> None:
    assert str(error).startswith(f"{error.field}={error.value!r}: ")
    assert str(error).endswith(error.remedy)
    assert "\n" not in str(error)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_arrives_whole_in_another_process(error: PassError) -> None:
    arrived = pickle.loads(pickle.dumps(error))
    assert type(arrived) is type(error)
    assert str(arrived) == str(error)
    assert vars(arrived) == vars(error)
