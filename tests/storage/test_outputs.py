"""Delivered pictures, in a folder and in a bucket: whole, replaceable, and never outside their job's folder."""

from pathlib import Path

import pytest
from places import Place
from s3 import S3, first, proxy

from storage.outputs import Outputs

pytest_plugins = ["store_fixtures"]


@pytest.fixture
def outputs(place: Place) -> Outputs:
    return Outputs(place.url, s3_endpoint_url=place.endpoint)


def test_a_picture_is_delivered_into_its_jobs_folder(outputs: Outputs, place: Place) -> None:
    assert outputs.put("job-1", "final.png", b"picture") == place.uri("job-1/final.png")
    assert place.read("job-1/final.png") == b"picture"


def test_delivering_again_replaces_the_whole_picture(outputs: Outputs, place: Place) -> None:
    outputs.put("job-1", "final.png", b"a long picture")
    outputs.put("job-1", "final.png", b"short")
    assert {name: place.read(name) for name in place.names()} == {"job-1/final.png": b"short"}


def test_a_picture_is_taken_back_alone_and_none_is_no_error(outputs: Outputs, place: Place) -> None:
    for name in ("final.png", "placed.png"):
        outputs.put("job-1", name, b"picture")
    for _ in range(2):
        outputs.remove("job-1", "final.png")
        assert list(place.names()) == ["job-1/placed.png"]


def test_a_delivery_whose_answer_is_lost_is_repeated_until_it_is_acknowledged(s3: S3, short_pauses: object) -> None:
    s3.files.pipe_file(f"{s3.bucket}/job-1/final.png", b"of an earlier run")
    with proxy(s3.endpoint) as between:
        between.plan = first("lost answer", "PUT", times=3)
        Outputs(s3.url, s3_endpoint_url=between.url).put("job-1", "final.png", b"picture")
    assert between.methods() == ["PUT"] * 4
    assert s3.files.cat_file(f"{s3.bucket}/job-1/final.png") == b"picture"


def test_a_browser_is_told_that_a_delivered_picture_is_a_picture(s3: S3) -> None:
    Outputs(s3.url, s3_endpoint_url=s3.endpoint).put("job-1", "final.png", b"picture")
    assert s3.files.info(f"{s3.bucket}/job-1/final.png")["ContentType"] == "image/png"


@pytest.mark.parametrize("job_id", ["", "..", "../x", "a/b", "/etc", ".hidden", "a\n", "a" * 129, "é"])
def test_an_id_that_is_no_plain_word_cannot_name_a_folder(tmp_path: Path, job_id: str) -> None:
    with pytest.raises(ValueError, match="not a plain id"):
        Outputs(str(tmp_path)).put(job_id, "final.png", b"picture")


@pytest.mark.parametrize("name", ["", "final", "../final.png", "a/b.png", "Final.png", "final.png\n", ".png"])
def test_a_name_that_is_no_plain_word_cannot_name_a_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not a plain file name"):
        Outputs(str(tmp_path)).put("job-1", name, b"picture")
