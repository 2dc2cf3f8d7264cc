"""Delivered pictures: whole, replaceable, and never outside their job's folder."""

from pathlib import Path

import pytest

from storage.outputs import Outputs


def test_a_picture_is_delivered_into_its_jobs_folder(tmp_path: Path) -> None:
    uri = Outputs(str(tmp_path / "out")).put("job-1", "final.png", b"picture")
    assert uri == f"file://{tmp_path}/out/job-1/final.png"
    assert (tmp_path / "out" / "job-1" / "final.png").read_bytes() == b"picture"


def test_delivering_again_replaces_the_whole_picture(tmp_path: Path) -> None:
    outputs = Outputs(str(tmp_path))
    outputs.put("job-1", "final.png", b"a long picture")
    outputs.put("job-1", "final.png", b"short")
    assert [path.read_bytes() for path in (tmp_path / "job-1").iterdir()] == [b"short"]


@pytest.mark.parametrize("job_id", ["", "..", "../x", "a/b", "/etc", ".hidden", "a\n", "a" * 129, "é"])
def test_an_id_that_is_no_plain_word_cannot_name_a_folder(tmp_path: Path, job_id: str) -> None:
    with pytest.raises(ValueError, match="not a plain id"):
        Outputs(str(tmp_path)).put(job_id, "final.png", b"picture")


@pytest.mark.parametrize("name", ["", "final", "../final.png", "a/b.png", "Final.png", "final.png\n", ".png"])
def test_a_name_that_is_no_plain_word_cannot_name_a_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not a plain file name"):
        Outputs(str(tmp_path)).put("job-1", name, b"picture")
