"""`backlot mask` as it is typed."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from flows.cli import app
from storage.errors import MaskNotFound
from storage.settings import Settings
from tasks.services import Services, use


@pytest.fixture
def folder(tmp_path: Path) -> Generator[Path]:
    cv2.imwrite(str(tmp_path / "cup.png"), np.full((64, 96, 3), 180, np.uint8))
    mask = np.zeros((64, 96), np.uint8)
    mask[20:50, 30:70] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    with use(Services(settings=Settings(home=tmp_path / "home"))) as here:
        yield tmp_path
        here.gate.close()
        here.database.close()


def said(*arguments: object) -> str:
    shown = CliRunner().invoke(app, ["mask", *map(str, arguments)], catch_exceptions=False)
    assert shown.exit_code == 0, shown.output
    return shown.output


def test_a_mask_is_set_listed_shown_and_removed(folder: Path) -> None:
    photo, mask = folder / "cup.png", folder / "mask.png"
    assert said("list") == "No masks.\n"
    assert said("set", photo, mask, "--note", "[red] handle").startswith("version 1 of the mask of photo ")
    mask.write_bytes(cv2.imencode(".png", 255 - cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE))[1].tobytes())
    assert said("set", photo, mask).startswith("version 2 ")
    assert said("show", photo, folder / "out.png") == f"{folder / 'out.png'}: version 2\n"
    assert np.array_equal(cv2.imread(str(folder / "out.png"), cv2.IMREAD_UNCHANGED),
                          cv2.imread(str(mask), cv2.IMREAD_UNCHANGED))
    listed = said("list", photo)
    assert "[red] handle" in listed
    assert "is matted; version 2 of its mask is kept" in said("remove", photo)
    facts = json.loads(said("list", "--json"))["masks"]
    assert [(fact["version"], fact["state"], fact["note"]) for fact in facts] == [
        (2, "removed", ""), (1, "replaced", "[red] handle")]
    with pytest.raises(MaskNotFound, match="has no mask"):
        said("show", photo, folder / "out.png")


def test_what_was_found_about_the_file_is_told_in_lines_of_their_own(folder: Path) -> None:
    large = cv2.resize(cv2.imread(str(folder / "mask.png"), cv2.IMREAD_GRAYSCALE), (192, 128))
    (folder / "large.jpg").write_bytes(cv2.imencode(".png", large)[1].tobytes())
    first, *notes = said("set", folder / "cup.png", folder / "large.jpg").splitlines()
    assert first.startswith("version 1 of the mask of photo ")
    assert notes == ["  note: its name ends in .jpg, and it is a PNG",
                     "  note: scaled from 192 x 128 px to the photo's 96 x 64"]
