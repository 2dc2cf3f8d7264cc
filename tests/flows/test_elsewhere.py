"""The main job with PostgreSQL, and with S3 for its photo, its artifacts and its outputs: the same job, to the byte."""

from collections.abc import Generator
from pathlib import Path

import cv2
import numpy as np
import pytest
from s3 import S3

from flows.documents import validate
from flows.omni_bg import omni_bg
from flows.omni_bg_document import OmniBgParams
from storage.settings import Settings
from storage.verify import verify
from tasks.services import Services, use

pytest_plugins = ["postgres", "store_fixtures"]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    picture = np.full((160, 200, 3), 225, dtype=np.uint8)
    cv2.rectangle(picture, (60, 40), (140, 130), (40, 70, 160), -1)
    cv2.imwrite(str(tmp_path / "box.png"), picture)
    return tmp_path / "box.png"


@pytest.fixture
def elsewhere(tmp_path: Path, postgres_url: str, s3: S3, prefect_server: str) -> Generator[Services]:
    settings = Settings(home=tmp_path / "elsewhere", database_url=postgres_url, s3_endpoint_url=s3.endpoint,
                        artifacts_url=f"{s3.url}/cas", outputs_url=f"{s3.url}/out", input_buckets=(f"{s3.bucket}/in",))
    with use(Services(settings=settings)) as here:
        yield here


def run(image: str, job_id: str) -> list[str]:
    return omni_bg(validate(OmniBgParams, {
        "job_id": job_id, "image": image, "subject": "a box", "placed_on": "a table", "background": "a kitchen",
        "camera_orientation": "front", "camera_angle": "eye level", "main_light_direction": "left",
        "proposed_background": "", "proposed_brightness": 0.1, "width": 96, "height": 64, "seed": 7}))


def made(here: Services, job_id: str) -> dict[str, tuple[str | None, set[str]]]:
    """{place: (key, digests)}"""
    return {row.at: (row.key, {artifact.digest for artifact in row.outputs.values()})
            for row in here.lineage.passes(job_id)}


def test_on_postgresql_and_s3_the_job_makes_the_same_bytes_under_the_same_keys(
        tmp_path: Path, photo: Path, elsewhere: Services, s3: S3) -> None:
    s3.files.pipe_file(f"{s3.bucket}/in/box.png", photo.read_bytes())
    [uri] = run(f"s3://{s3.bucket}/in/box.png", "there")
    assert uri == f"s3://{s3.bucket}/out/there/final.png"
    with use(Services(settings=Settings(home=tmp_path / "home", input_roots=(tmp_path,)))) as alone:
        [path] = run(str(photo), "here")
        assert made(alone, "here") == made(elsewhere, "there")
    [source] = elsewhere.lineage.sources("there")
    assert (source.uri, source.size) == (f"s3://{s3.bucket}/in/box.png", photo.stat().st_size)
    assert source.version == s3.files.info(f"{s3.bucket}/in/box.png")["ETag"].strip('"')
    local, far = Path(path.removeprefix("file://")).read_bytes(), s3.files.cat_file(uri)
    assert cv2.imdecode(np.frombuffer(far, np.uint8), -1).tobytes() == cv2.imdecode(
        np.frombuffer(local, np.uint8), -1).tobytes()


def test_there_it_is_reused_whole_and_the_checker_finds_nothing(photo: Path, elsewhere: Services, s3: S3) -> None:
    s3.files.pipe_file(f"{s3.bucket}/in/box.png", photo.read_bytes())
    for job_id in ("first", "second"):
        run(f"s3://{s3.bucket}/in/box.png", job_id)
    with use(Services(settings=elsewhere.settings)) as fresh:
        run(f"s3://{s3.bucket}/in/box.png", "third")
        for job_id in ("second", "third"):
            assert {row.disposition for row in fresh.lineage.passes(job_id)} == {"reused", "skipped"}
        report = verify(fresh.database, fresh.settings)
        assert report.faults == ()
        assert report.counts["jobs"] == 3
