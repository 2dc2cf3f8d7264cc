"""A mask set for a photo is what every job of that photo is cut out by; through the real gate, store and lineage."""

from __future__ import annotations

import errno
import os
from collections.abc import Generator
from pathlib import Path

import cv2
import numpy as np
import pytest
from colour_profiles import P3_TO_XYZ, curve, grey_profile, rgb_profile
from photo_files import saved
from PIL import ExifTags, Image

from flows.replay_plan import Planner
from models.errors import InputError, PhotoRefused
from models.params import CutOutParams
from storage.errors import MaskLost, MaskNotFound, SourceError
from storage.records import Artifact, NewJob
from storage.settings import Settings
from storage.verify import verify
from tasks import jobs, masks
from tasks.requests import JobRef, PassRequest, PassResult
from tasks.run_pass import run_pass
from tasks.services import Services, use
from tasks.verify import check, heal

ROWS, COLUMNS = np.mgrid[0:96, 0:128].astype(np.float64)
DISC = np.clip(30 - np.hypot(ROWS - 48, COLUMNS - 60) + 0.5, 0, 1)
EIGHT = np.rint(255 * DISC).astype(np.uint8)
SMALLER = np.clip(20 - np.hypot(ROWS - 48, COLUMNS - 60) + 0.5, 0, 1)


@pytest.fixture
def here(tmp_path: Path) -> Generator[Services]:
    with use(Services(settings=Settings(home=tmp_path / "home", input_roots=(tmp_path,)))) as made:
        yield made
        made.gate.close()
        made.database.close()


def photo_file(folder: Path, name: str, red: int = 200) -> Path:
    alpha = DISC[:, :, None]
    cv2.imwrite(str(folder / name), np.rint(np.array([40, 60, red]) * alpha + 230 * (1 - alpha)).astype(np.uint8))
    return folder / name


def mask_file(folder: Path, alpha: np.ndarray = DISC, name: str = "mask.png") -> Path:
    cv2.imwrite(str(folder / name), np.rint(255 * alpha).astype(np.uint8))
    return folder / name


def cut(here: Services, job_id: str, photo: Path) -> tuple[Artifact, PassResult]:
    """What a job does until its product is cut out: the photo read, and the pass's result."""
    job = JobRef(job_id=job_id, pipeline="omni-bg", profile="tiny")
    here.ledger.open_job(NewJob(job_id=job_id, pipeline="omni-bg", profile="tiny", requested={}, resolved={},
                                schema_version=1))
    read = jobs.ingest.fn(job, str(photo))
    mask = jobs.mask_of(read)
    given = {"photo": read} if mask is None else {"photo": read, "mask": mask}
    return read, run_pass(here, [PassRequest(job=job, at="cut_out", position=1, pass_name="cut_out",
                                             params=CutOutParams(), inputs=given)])[0].value()


def alpha_of(here: Services, product: PassResult) -> np.ndarray:
    return here.picture(product.artifact)[:, :, 3]


def test_every_job_of_the_photo_is_cut_out_by_its_mask_and_computes_it_once(here: Services, tmp_path: Path) -> None:
    photo = photo_file(tmp_path, "cup.png")
    _, matted = cut(here, "before", photo)
    row, notes = masks.set_mask(here, str(photo), mask_file(tmp_path, SMALLER), "the handle is not ours")
    assert (row.version, notes) == (1, ())
    read, first = cut(here, "first", photo)
    _, second = cut(here, "second", photo)
    assert row.photo_digest == read.digest
    assert (first.disposition, second.disposition, second.made_by) == ("executed", "reused", "first")
    assert np.array_equal(alpha_of(here, first), np.rint(255 * SMALLER).astype(np.uint8))
    assert first.artifact.digest != matted.artifact.digest

    [made] = here.lineage.passes("second")
    assert made.inputs == {"photo": read.digest, "mask": row.mask.digest}
    [why] = here.lineage.why("first")
    assert [(change.part, change.before, change.after) for change in why.changes] == [
        ("inputs.mask", None, row.mask.digest)]


def test_a_new_version_makes_a_new_product_and_without_a_mask_the_matte_is_used_again(
        here: Services, tmp_path: Path) -> None:
    photo = photo_file(tmp_path, "cup.png")
    _, matted = cut(here, "matted", photo)
    masks.set_mask(here, str(photo), mask_file(tmp_path, SMALLER), "")
    cut(here, "masked", photo)
    row, _ = masks.set_mask(here, str(photo), mask_file(tmp_path, DISC), "")
    assert row.version == 2
    _, anew = cut(here, "masked again", photo)
    assert anew.disposition == "executed"
    assert np.array_equal(alpha_of(here, anew), np.rint(255 * DISC).astype(np.uint8))
    assert masks.remove_mask(here, str(photo)).version == 2
    _, after = cut(here, "after", photo)
    assert (after.disposition, after.made_by, after.artifact) == ("reused", "matted", matted.artifact)


def test_the_mask_of_another_photo_is_not_used(here: Services, tmp_path: Path) -> None:
    one, other = photo_file(tmp_path, "one.png"), photo_file(tmp_path, "other.png", red=120)
    masks.set_mask(here, str(one), mask_file(tmp_path, SMALLER), "")
    cut(here, "job", other)
    [made] = here.lineage.passes("job")
    assert set(made.inputs) == {"photo"}


def test_a_photo_is_named_by_path_by_uri_and_by_digest(here: Services, tmp_path: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    photo, mask = photo_file(tmp_path, "cup.png"), mask_file(tmp_path)
    monkeypatch.chdir(tmp_path)
    read, _ = cut(here, "job", photo)
    rows = [masks.set_mask(here, name, mask, "")[0]
            for name in ("cup.png", str(photo), photo.as_uri(), read.digest, read.digest[:10])]
    assert {(row.photo_digest, row.version) for row in rows} == {(read.digest, 1)}
    assert masks.masks(here, "cup.png") == masks.masks(here, None) == rows[:1]


def test_a_scaled_mask_says_so(here: Services, tmp_path: Path) -> None:
    half = cv2.resize(np.rint(255 * DISC).astype(np.uint8), (256, 192))
    cv2.imwrite(str(tmp_path / "large.png"), half)
    row, notes = masks.set_mask(here, str(photo_file(tmp_path, "cup.png")), tmp_path / "large.png", "")
    assert notes == ("scaled from 256 x 192 px to the photo's 128 x 96",)
    assert (row.mask.width, row.mask.height) == (128, 96)


PROFILES = {
    "grey, gamma 1.8": (Image.fromarray(EIGHT), grey_profile(1.8)),
    "grey, linear": (Image.fromarray(EIGHT), grey_profile(1.0)),
    "grey of 16 bits, linear": (Image.fromarray(EIGHT.astype(np.uint16) * 257), grey_profile(1.0)),
    "grey saved as colour, linear": (Image.fromarray(np.dstack([EIGHT] * 3)), rgb_profile(P3_TO_XYZ, curve(1.0))),
    "alpha beside a profile": (Image.fromarray(np.dstack([EIGHT // 2] * 3 + [EIGHT])),
                               rgb_profile(P3_TO_XYZ, curve(1.0))),
    "grey with a profile that is none": (Image.fromarray(EIGHT), b"no profile"),
}


@pytest.mark.parametrize("way", PROFILES)
def test_a_masks_numbers_are_alpha_whatever_colour_profile_it_carries(here: Services, tmp_path: Path, way: str) -> None:
    painted, profile = PROFILES[way]
    (tmp_path / "mask.png").write_bytes(saved(painted, icc_profile=profile))
    row, notes = masks.set_mask(here, str(photo_file(tmp_path, "cup.png")), tmp_path / "mask.png", "")
    assert np.array_equal(here.picture(row.mask), np.dstack([EIGHT] * 3))
    assert notes == ()


def test_a_mask_that_lies_on_its_side_is_turned_upright_as_photos_are(here: Services, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # row 0 as stored is the right-hand side
    lying = np.ascontiguousarray(EIGHT.T[::-1])
    (tmp_path / "mask.png").write_bytes(saved(lying, exif=exif, icc_profile=grey_profile(1.8)))
    row, _ = masks.set_mask(here, str(photo_file(tmp_path, "cup.png")), tmp_path / "mask.png", "")
    assert np.array_equal(here.picture(row.mask), np.dstack([EIGHT] * 3))


def test_what_the_decoder_had_to_say_of_the_mask_is_told(here: Services, tmp_path: Path) -> None:
    frames = [Image.fromarray(EIGHT), Image.fromarray(255 - EIGHT)]
    (tmp_path / "mask.png").write_bytes(saved(frames[0], save_all=True, append_images=frames[1:]))
    row, notes = masks.set_mask(here, str(photo_file(tmp_path, "cup.png")), tmp_path / "mask.png", "")
    assert notes == ("it has 2 frames; the first was taken",)
    assert np.array_equal(here.picture(row.mask)[:, :, 0], EIGHT)


def test_the_mask_comes_out_again_as_it_went_in(here: Services, tmp_path: Path) -> None:
    photo, out = photo_file(tmp_path, "cup.png"), tmp_path / "out.png"
    assert masks.save_mask(here, str(photo), out) is None
    assert not out.exists()
    masks.set_mask(here, str(photo), mask_file(tmp_path), "")
    masks.save_mask(here, str(photo), out)
    assert np.array_equal(cv2.imread(str(out), cv2.IMREAD_UNCHANGED), np.rint(255 * DISC).astype(np.uint8))


def test_a_mask_is_written_into_a_new_folder_and_a_place_that_cannot_be_is_one_line(here: Services, tmp_path: Path,
                                                                                    ) -> None:
    photo, new = photo_file(tmp_path, "cup.png"), tmp_path / "a" / "new" / "out.png"
    masks.set_mask(here, str(photo), mask_file(tmp_path), "")
    masks.save_mask(here, str(photo), new)
    assert np.array_equal(cv2.imread(str(new), cv2.IMREAD_UNCHANGED), EIGHT)
    os.mkfifo(tmp_path / "pipe")
    before = sorted(tmp_path.rglob("*"))
    for out in (tmp_path, tmp_path / "a", photo / "out.png", tmp_path / "pipe", Path("/proc/out.png")):
        with pytest.raises(InputError) as caught:
            masks.save_mask(here, str(photo), out)
        assert (caught.value.field, caught.value.value) == ("OUT", str(out))
        assert "cannot be written (" in str(caught.value)
        assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_mask_that_cannot_be_written_whole_leaves_what_was_there(here: Services, tmp_path: Path,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    photo, out = photo_file(tmp_path, "cup.png"), tmp_path / "out.png"
    masks.set_mask(here, str(photo), mask_file(tmp_path), "")
    out.write_bytes(b"before")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"OUT=.*No space left on device"):
        masks.save_mask(here, str(photo), out)
    assert out.read_bytes() == b"before"


def test_what_is_no_mask_or_no_photo_is_one_line_and_nothing_is_set(here: Services, tmp_path: Path) -> None:
    photo = str(photo_file(tmp_path, "cup.png"))
    (tmp_path / "broken.png").write_bytes(mask_file(tmp_path).read_bytes()[:300])
    cv2.imwrite(str(tmp_path / "square.png"), np.full((96, 96), 255, np.uint8))
    (tmp_path / "bare.png").write_bytes(b"")
    for name, mask, error, field in (
            (photo, "broken.png", InputError, "MASK"), (photo, "square.png", InputError, "MASK"),
            (photo, "none.png", InputError, "MASK"), (photo, "bare.png", InputError, "MASK"),
            (photo, ".", InputError, "MASK"), (str(tmp_path / "none.jpg"), "mask.png", SourceError, "image"),
            (str(tmp_path / "broken.png"), "mask.png", PhotoRefused, "image"),
            ("0123456789abcdef", "mask.png", MaskNotFound, "PHOTO")):
        with pytest.raises(error) as caught:
            masks.set_mask(here, name, tmp_path / mask, "")
        assert caught.value.field == field
        assert "\n" not in str(caught.value)
        assert ("JPEG" in str(caught.value)) == (field == "image")
    assert masks.masks(here, None) == []


def test_a_mask_that_is_not_there_is_called_a_mask(here: Services, tmp_path: Path) -> None:
    photo, mask = photo_file(tmp_path, "cup.png"), tmp_path / "nothere.png"
    with pytest.raises(InputError) as caught:
        masks.set_mask(here, str(photo), mask, "")
    assert str(caught.value) == (f"MASK='{mask}': there is no such file. Give the path of a PNG of the upright photo: "
                                 "grey, white where the product is, or with alpha")


def test_a_lost_mask_ends_the_job_instead_of_matting_in_silence(here: Services, tmp_path: Path) -> None:
    photo = photo_file(tmp_path, "cup.png")
    row, _ = masks.set_mask(here, str(photo), mask_file(tmp_path), "")
    stored = here.settings.artifacts_url + f"/sha256/{row.mask.digest[:2]}/{row.mask.digest}"
    Path(stored).unlink()
    with pytest.raises(MaskLost, match=r"version 1.*backlot mask set"):
        cut(here, "job", photo)


def test_a_masks_bytes_are_no_orphans_and_missing_ones_are_told_as_a_masks(here: Services, tmp_path: Path) -> None:
    row, _ = masks.set_mask(here, str(photo_file(tmp_path, "cup.png")), mask_file(tmp_path), "")
    assert verify(here.database, here.settings, grace_seconds=0).findings == ()
    Path(here.settings.artifacts_url + f"/sha256/{row.mask.digest[:2]}/{row.mask.digest}").unlink()
    [finding] = verify(here.database, here.settings, grace_seconds=0).findings
    assert (finding.kind, finding.where, finding.what) == ("missing", row.mask.digest, "it is a mask that a person set")


def test_a_repair_says_that_a_lost_mask_is_to_be_set_again(here: Services, tmp_path: Path) -> None:
    photo, mask = photo_file(tmp_path, "cup.png"), mask_file(tmp_path)
    row, _ = masks.set_mask(here, str(photo), mask, "")
    Path(here.settings.artifacts_url + f"/sha256/{row.mask.digest[:2]}/{row.mask.digest}").unlink()
    [repaired] = heal(here, check(here, read_data=True, progress=lambda done, total: None).faults)
    assert (repaired.healed, repaired.done) == (False, "no copy of this mask is left: set it again, or remove it")
    masks.set_mask(here, str(photo), mask, "")
    assert verify(here.database, here.settings, grace_seconds=0).findings == ()


def test_a_replay_takes_the_mask_that_was_recorded_whatever_counts_now(here: Services, tmp_path: Path) -> None:
    photo = photo_file(tmp_path, "cup.png")
    row, _ = masks.set_mask(here, str(photo), mask_file(tmp_path, SMALLER), "")
    read, _ = cut(here, "masked", photo)
    masks.set_mask(here, str(photo), mask_file(tmp_path, DISC), "")
    cut(here, "other", photo_file(tmp_path, "other.png", red=120))
    assert Planner(here.lineage.recorded("masked")).mask(read) == row.mask
    assert Planner(here.lineage.recorded("other")).mask(read) is None
