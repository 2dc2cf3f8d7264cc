"""Every error says in one line what is wrong and what to do, and survives the way between processes."""

import pickle

import pytest

from storage.errors import (
    ArtifactCorrupt,
    ArtifactMissing,
    DatabaseNewer,
    DatabaseUnavailable,
    FencedOff,
    JobConflict,
    JobNotFound,
    MaskLost,
    MaskNotFound,
    NoBucket,
    OutputNotFound,
    SchemaOutdated,
    SettingsError,
    SourceError,
    StorageError,
    StoreUnavailable,
)
from storage.words import NotText

ERRORS = [
    ArtifactMissing("a" * 64), ArtifactCorrupt("a" * 64, "b" * 64), JobConflict("job-1", ("profile", "seed")),
    JobNotFound("job-1"), OutputNotFound("role", "final", "job-1 delivered nothing"), FencedOff("e1"),
    SourceError("a.jpg", "there is no such file", "Give another"),
    SettingsError("BACKLOT_X", "1", "is unknown", "Unset it"),
    SchemaOutdated("sqlite:///a.db", "0001", "0002"), DatabaseNewer("sqlite:///a.db", "0009"),
    MaskNotFound("a.jpg", "no mask counts for it"), MaskLost("a" * 64, 2),
    StoreUnavailable("artifacts_url", "s3://shop/cas", "5 tries in 20 s"),
    NoBucket("there is no such bucket", field="outputs_url", value="s3://shop/out", remedy="Make it"),
    DatabaseUnavailable("postgresql://db/backlot", "8 tries in 60 s"), NotText("uri", "a\x00b"),
]


def test_every_error_of_the_package_is_tried_here() -> None:
    assert {type(error) for error in ERRORS} == set(StorageError.__subclasses__())


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_is_one_line_of_field_value_and_remedy(error: StorageError) -> None:
    assert str(error).startswith(f"{error.field}={str(error.value)!r}: ")
    assert str(error).endswith(error.remedy)
    assert "\n" not in str(error)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_arrives_whole_in_another_process(error: StorageError) -> None:
    arrived = pickle.loads(pickle.dumps(error))
    assert type(arrived) is type(error)
    assert str(arrived) == str(error)
    assert vars(arrived) == vars(error)


def test_an_outdated_database_names_the_command_that_helps() -> None:
    assert "`backlot db upgrade`" in str(SchemaOutdated("sqlite:///a.db", "0001", "0002"))
