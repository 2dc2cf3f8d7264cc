"""The checker's door, on what a job of toy passes really left behind."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import update
from toy_job import ToyDocument, run_toy

from storage.settings import Settings
from storage.tables import job, job_output
from storage.verify import Report
from tasks.services import Services, use
from tasks.verify import check, heal


def look(here: Services) -> Report:
    return check(here, read_data=True, progress=lambda done, total: None)


def kinds(here: Services) -> list[str]:
    return [one.kind for one in look(here).findings]


@pytest.fixture
def here(tmp_path: Path) -> Generator[Services]:
    gradient = np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3)
    Image.fromarray(gradient).save(tmp_path / "photo.png")
    with use(Services(settings=Settings(home=tmp_path / "home", input_roots=(tmp_path,)))) as mine:
        yield mine


def test_a_lost_delivery_is_delivered_again_byte_for_byte(here: Services, tmp_path: Path) -> None:
    [uri] = run_toy(ToyDocument(job_id="a", image=str(tmp_path / "photo.png")))
    delivered = Path(uri.removeprefix("file://"))
    before = delivered.read_bytes()
    delivered.unlink()
    findings = look(here).faults
    assert [(one.done, one.healed) for one in heal(here, findings)] == [("delivered again", True)]
    assert delivered.read_bytes() == before
    assert kinds(here) == []


@pytest.mark.parametrize(("spoilt", "why"), [
    ({"profile": "of-yesterday"}, "InputError"), ({"resolved": {}}, "KeyError: 'document'")])
def test_a_delivery_that_cannot_be_made_again_keeps_no_other_from_it(here: Services, tmp_path: Path, spoilt: Any,
                                                                      why: str) -> None:
    uris = [uri for name in ("a", "b", "c")
            for uri in run_toy(ToyDocument(job_id=name, image=str(tmp_path / "photo.png")))]
    with here.database.write() as connection:
        connection.execute(update(job).where(job.c.job_id == "b").values(**spoilt))
    for uri in uris:
        Path(uri.removeprefix("file://")).unlink()
    done = {one.finding.subject[0]: one for one in heal(here, look(here).faults)}
    assert {name: one.healed for name, one in done.items()} == {"a": True, "b": False, "c": True}
    assert why in done["b"].done
    assert kinds(here) == ["undelivered"]


def test_a_folder_in_place_of_a_delivery_is_left_with_all_it_holds(here: Services, tmp_path: Path) -> None:
    [uri] = run_toy(ToyDocument(job_id="a", image=str(tmp_path / "photo.png")))
    delivered = Path(uri.removeprefix("file://"))
    delivered.unlink()
    delivered.mkdir()
    (delivered / "notes.txt").write_text("a person's")
    [done] = heal(here, look(here).faults)
    assert not done.healed
    assert "IsADirectoryError" in done.done
    assert (delivered / "notes.txt").read_text() == "a person's"


def test_a_delivery_out_of_reach_is_delivered_by_running_its_job_again(here: Services, tmp_path: Path) -> None:
    """As findings.py tells the operator."""
    document = ToyDocument(job_id="a", image=str(tmp_path / "photo.png"))
    run_toy(document)
    with here.database.write() as connection:
        connection.execute(update(job_output).values(uri="https://shop.example/final.png"))
    assert kinds(here) == ["unreachable"]
    run_toy(document)
    assert kinds(here) == []


def test_a_picture_that_several_places_lost_is_made_anew_by_the_job(here: Services, tmp_path: Path) -> None:
    document = ToyDocument(job_id="a", image=str(tmp_path / "photo.png"))
    run_toy(document)
    made = next(row for row in here.lineage.passes("a") if row.at == "toy_mirror").outputs["mirrored"]
    Path(here.store.uri(made.digest).removeprefix("file://")).write_bytes(b"rot")
    assert kinds(here) == ["damaged"]
    assert [one.healed for one in heal(here, look(here).faults)] == [True]
    assert kinds(here) == ["quarantined", "declared_lost"]
    run_toy(document)
    assert kinds(here) == ["quarantined"]
