"""Small whole jobs on tiny weights. A file that wants the fixtures says pytest_plugins = ["omni_bg_jobs"]."""

from collections.abc import Generator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from flows.documents import validate
from flows.omni_bg_document import OmniBgParams
from storage.settings import Settings
from tasks.services import Services, use

SMALL = {"width": 96, "height": 64, "seed": 7}
CANARY = "canary-in-the-metadata"


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A grey backdrop with a striped box on it, as JPEG with metadata that must never come out."""
    picture = np.full((240, 320, 3), 225, dtype=np.uint8)
    cv2.rectangle(picture, (110, 60), (210, 200), (40, 70, 160), -1)
    for top in range(70, 195, 25):
        cv2.rectangle(picture, (120, top), (200, top + 8), (230, 210, 90), -1)
    exif = Image.Exif()
    exif[0x010E] = CANARY
    path = tmp_path_factory.mktemp("photo") / "box.jpg"
    Image.fromarray(picture).save(path, quality=92, exif=exif, comment=CANARY.encode())
    return path


def services(home: Path) -> Services:
    return Services(settings=Settings(home=home, input_roots=(Path("/"),)))


def document(photo: Path, job_id: str | None, **changes: object) -> OmniBgParams:
    return validate(OmniBgParams, {
        "job_id": job_id, "image": str(photo), "subject": "a box", "placed_on": "a table", "background": "a kitchen",
        "camera_orientation": "front", "camera_angle": "eye level", "main_light_direction": "left",
        "proposed_background": "", "proposed_brightness": 0.1, **SMALL, **changes})


@pytest.fixture
def here(prefect_server: str, tmp_path: Path) -> Generator[Services]:
    """An empty home of this test's own."""
    with use(services(tmp_path)) as mine:
        yield mine
