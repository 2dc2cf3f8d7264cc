"""The contact sheet: drawn of hand-made cells, and of jobs that a real ledger and store remember."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.pictures import Picture
from storage.errors import JobNotFound
from storage.records import Artifact, Claim, Execution, KeyParts, NewJob, RunFacts
from storage.settings import Settings
from tasks.profiles import notice
from tasks.run_pass import put_picture
from tasks.services import Services
from tasks.sheet import (
    ALONE,
    CAPTION,
    CELL,
    GAP,
    HEADER,
    MARGIN,
    PAPER,
    WARNING,
    Cell,
    cells,
    contact_sheet,
    draw_sheet,
)

RED, BLUE = (200, 30, 40), (20, 60, 220)
LABEL = 26  # the job's id above each row


def colour(rgb: tuple[int, ...], width: int = 32, height: int = 24) -> Picture:
    """A picture of one colour, by default of a cell's 4 : 3."""
    return np.full((height, width, len(rgb)), rgb, dtype=np.uint8)


def cell(picture: Picture | None, title: str = "first pass", note: str = "executed") -> Cell:
    return Cell(title=title, note=note, picture=picture)


def frame(sheet: Image.Image, row: int = 0, column: int = 0) -> Picture:
    """The pixels of one picture's frame."""
    left = MARGIN + column * (CELL[0] + GAP)
    top = HEADER + row * (LABEL + CELL[1] + CAPTION + GAP) + LABEL
    return np.asarray(sheet.crop((left, top, left + CELL[0], top + CELL[1])))


def size(lines: int, columns: int) -> tuple[int, int]:
    return (2 * MARGIN + columns * CELL[0] + (columns - 1) * GAP,
            HEADER + MARGIN + lines * (LABEL + CELL[1] + CAPTION + GAP))


def test_a_sheet_is_as_wide_as_its_longest_row_and_has_every_picture_in_its_place() -> None:
    rows = [("job-1", [cell(colour(RED)), cell(colour(BLUE))]), ("job-2", [cell(colour(BLUE))])]
    sheet = draw_sheet(rows, "")
    assert (sheet.mode, sheet.size) == ("RGB", size(lines=2, columns=2))
    assert (frame(sheet, 0, 0) == RED).all()
    assert (frame(sheet, 0, 1) == BLUE).all()
    assert (frame(sheet, 1, 0) == BLUE).all()
    assert (frame(sheet, 1, 1) == PAPER).all()


def test_a_tall_picture_keeps_its_shape_in_the_middle_of_its_frame() -> None:
    picture = frame(draw_sheet([("job", [cell(colour(RED, width=50, height=100))])], ""))
    red = np.flatnonzero((picture == RED).all(axis=2).all(axis=0))
    assert (red.min(), red.max()) == (70, 153)  # 84 of 224 columns
    assert len(red) == 84


def test_what_is_transparent_shows_a_checkerboard_and_what_is_opaque_does_not() -> None:
    half = colour((*RED, 0), width=224, height=168)
    half[:, :112, 3] = 255
    picture = frame(draw_sheet([("job", [cell(half)])], ""))
    assert (picture[:, :110] == RED).all()  # resizing mixes a pixel or two at the border
    squares = picture[:, 120:, 0]
    assert set(np.unique(squares)) == {214, 255}
    assert squares[4, 4] != squares[4, 12]
    assert squares[4, 4] != squares[12, 4]
    assert squares[4, 4] == squares[12, 12]


def test_a_skipped_step_is_an_empty_frame_that_says_so() -> None:
    skipped = frame(draw_sheet([("job", [cell(None)])], ""))
    filled = (skipped == skipped[0, 0]).all(axis=2)
    assert filled.mean() > 0.95
    written = np.argwhere(~filled)
    assert 30 < len(written) < 600, "the word `skipped`, and nothing else"
    assert np.ptp(written[:, 0]) < 20


def test_captions_and_ids_are_written_and_a_long_note_stays_below_its_own_picture() -> None:
    def drawn(job_id: str, title: str, note: str) -> Picture:
        return np.asarray(draw_sheet([(job_id, [cell(colour(RED), title, note), cell(colour(BLUE), "", "")])], ""))

    bare, top = drawn("", "", ""), HEADER + LABEL + CELL[1]
    for words, rows in ((("job-1", "", ""), np.s_[HEADER:HEADER + LABEL]), (("", "depth", ""), np.s_[top:top + 20]),
                        (("", "", "executed"), np.s_[top + 18:top + CAPTION])):
        changed = np.flatnonzero((drawn(*words) != bare).any(axis=(1, 2)))
        assert changed.size, words
        assert rows.start <= changed.min() <= changed.max() < rows.stop + 2
    columns = np.flatnonzero((drawn("", "", "a long reason " * 20) != bare).any(axis=(0, 2)))
    assert columns.max() < MARGIN + CELL[0] + GAP


def test_the_warning_is_drawn_in_its_colour_in_the_header_and_nowhere_else() -> None:
    rows = [("job", [cell(colour(BLUE))])]
    plain, warned = (np.asarray(draw_sheet(rows, text)) for text in ("", "tiny weights: not for looking at"))
    assert (warned == WARNING).all(axis=2).sum() > 50
    assert not (plain == WARNING).all(axis=2).any()
    assert np.array_equal(plain[HEADER:], warned[HEADER:])


def test_a_sheet_of_no_jobs_is_a_header() -> None:
    assert draw_sheet([], "").size == size(lines=0, columns=1)


@pytest.fixture
def here(tmp_path: Path) -> Services:
    return Services(settings=Settings(home=tmp_path / "home"))


def source(here: Services, job_id: str) -> Artifact:
    """An open job's photo, which it has read."""
    here.ledger.open_job(NewJob(job_id=job_id, pipeline="omni-bg", profile="tiny", requested={}, resolved={},
                                schema_version=1))
    artifact = put_picture(here, colour(RED))
    here.ledger.observe_source(job_id, "file:///photo.png", "1", 1, None, artifact.digest, artifact, "decoder-1")
    return artifact


def job(here: Services, job_id: str, steps: Mapping[str, Picture | None], *, deliver: bool = True) -> None:
    """A job whose passes, in order, read its photo and made these pictures; None: skipped."""
    photo = final = source(here, job_id)
    for position, (at, picture) in enumerate(steps.items(), start=1):
        if picture is None:
            here.ledger.skip(job_id, at, position, at, f"{at} is off")
            continue
        final = put_picture(here, picture)
        parts = KeyParts(pass_name=at, pass_version=1, params={"made": final.digest}, inputs={"photo": photo.digest},
                         weights={})
        answer = here.ledger.claim(parts, job_id=job_id, worker="here:1", lease_seconds=60)
        if isinstance(answer, Execution):
            here.ledger.rest_on(job_id, at, position, answer, "same")
            continue
        assert isinstance(answer, Claim)
        here.ledger.commit(answer, parts, {at: final}, RunFacts(seconds=1.0, model_calls=position), job_id=job_id,
                           at=at, position=position, reason="new")
    if deliver:
        here.ledger.record_output(job_id, "final", final, f"file:///out/{job_id}.png")


def drawn(here: Services, *job_ids: str) -> Image.Image:
    path = here.settings.home / "sheets" / "sheet.png"
    contact_sheet(here, job_ids, path)
    with Image.open(path) as sheet:
        return sheet.copy()


def test_a_job_is_its_photo_its_passes_in_order_and_what_it_delivered(here: Services) -> None:
    job(here, "a", {"cut_out": colour(BLUE), "relight": None, "mix": colour((9, 9, 9), 64, 48)})
    job(here, "b", {"cut_out": colour(BLUE), "relight": colour(RED), "mix": colour((9, 9, 9), 64, 48)})
    assert [(one.title, one.note, one.picture is None) for one in cells(here, "a")] == [
        ("source", "as ingested", False), ("cut-out", "executed, 1 call", False),
        ("relit by IC-Light", "relight is off", True), ("light mixed in", "executed, 3 calls", False),
        ("final", "64 x 48", False)]
    assert [one.note for one in cells(here, "b")][1:4] == ["reused, 1 call", "executed, 2 calls", "reused, 3 calls"]


def test_a_job_that_failed_early_is_as_far_as_it_came(here: Services) -> None:
    job(here, "a", {"cut_out": colour(BLUE)}, deliver=False)
    assert [one.title for one in cells(here, "a")] == ["source", "cut-out"]


def test_among_others_a_job_that_made_nothing_is_an_empty_row(here: Services) -> None:
    job(here, "a", {"cut_out": colour(BLUE)})
    source(here, "b")
    assert cells(here, "b") == []
    sheet = drawn(here, "a", "b")
    assert sheet.size == size(lines=2, columns=3)
    assert (frame(sheet, 1, 0) == PAPER).all()


def test_one_job_is_laid_out_in_lines_of_six(here: Services) -> None:
    job(here, "a", {f"step-{shade}": colour((shade, 0, 0)) for shade in range(100, 106)})  # 8 with photo and final
    sheet = drawn(here, "a")
    assert ALONE == 6
    assert sheet.size == size(lines=2, columns=6)
    assert (frame(sheet, 0, 0) == RED).all()
    assert (frame(sheet, 0, 5) == (104, 0, 0)).all()
    assert (frame(sheet, 1, 0) == (105, 0, 0)).all()
    assert (frame(sheet, 1, 1) == (105, 0, 0)).all()  # final
    assert (frame(sheet, 1, 2) == PAPER).all()


def test_several_jobs_are_a_row_each_however_long(here: Services) -> None:
    steps = {f"step-{shade}": colour((shade, 0, 0)) for shade in range(100, 106)}
    job(here, "a", steps)
    job(here, "b", steps)
    assert drawn(here, "a", "b").size == size(lines=2, columns=8)


def test_a_step_that_every_job_skipped_vanishes_and_one_that_some_did_stays(here: Services) -> None:
    job(here, "a", {"cut_out": colour(BLUE), "relight": None, "upscale": None})
    job(here, "b", {"cut_out": colour(BLUE), "relight": colour((0, 200, 0)), "upscale": None})
    sheet = drawn(here, "a", "b")
    assert sheet.size == size(lines=2, columns=4)  # photo, cut-out, relit, final
    assert (frame(sheet, 1, 2) == (0, 200, 0)).all()
    assert not (frame(sheet, 0, 2) == (0, 200, 0)).all(axis=2).any()
    assert (frame(sheet, 0, 3) == BLUE).all()


def test_jobs_with_different_steps_keep_all_of_them(here: Services) -> None:
    job(here, "a", {"cut_out": colour(BLUE), "upscale": None})
    job(here, "b", {"cut_out": colour(BLUE)})
    assert drawn(here, "a", "b").size == size(lines=2, columns=4)


def test_a_sheet_of_tiny_weights_says_so_and_makes_the_folder_it_lies_in(here: Services) -> None:
    job(here, "a", {"cut_out": colour(BLUE)})
    assert notice("tiny")
    written = np.asarray(drawn(here, "a"))[:HEADER]
    expected = np.asarray(draw_sheet([("a", cells(here, "a"))], notice("tiny")))[:HEADER]
    assert np.array_equal(written, expected)
    assert (written == WARNING).all(axis=2).sum() > 50


def test_an_unknown_job_is_refused_and_no_sheet_is_written(here: Services, tmp_path: Path) -> None:
    job(here, "a", {"cut_out": colour(BLUE)})
    with pytest.raises(JobNotFound, match="nobody"):
        contact_sheet(here, ["a", "nobody"], tmp_path / "sheet.png")
    assert not (tmp_path / "sheet.png").exists()
