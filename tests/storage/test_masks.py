"""Masks of photos: versions are added, the newest counts, none is overwritten; on both databases."""

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from storage.errors import MaskNotFound
from storage.masks import Masks


@pytest.fixture
def masks(world: Any) -> Masks:
    world.job()
    return Masks(world.database)


def test_each_mask_is_a_version_and_the_newest_counts(world: Any, masks: Masks) -> None:
    photo = world.artifact("photo")
    assert masks.of(photo.digest) is None
    first = masks.set(photo, world.artifact("mask one"), "the strap was cut off")
    second = masks.set(photo, world.artifact("mask two"), "")
    assert [(row.version, row.mask, row.note) for row in (first, second)] == [
        (1, world.artifact("mask one"), "the strap was cut off"), (2, world.artifact("mask two"), "")]
    assert masks.of(photo.digest) == second
    assert masks.versions(photo.digest) == [second, first]


def test_the_very_mask_that_counts_stays_the_version_it_is(world: Any, masks: Masks) -> None:
    photo, mask = world.artifact("photo"), world.artifact("mask")
    assert masks.set(photo, mask, "a").version == masks.set(photo, mask, "a").version == 1
    assert masks.set(photo, mask, "another reason").version == 2


def test_a_removed_mask_counts_no_more_nor_does_the_one_before_and_both_are_kept(world: Any, masks: Masks) -> None:
    photo = world.artifact("photo")
    masks.set(photo, world.artifact("mask one"), "")
    masks.set(photo, world.artifact("mask two"), "")
    assert masks.remove(photo.digest).version == 2
    assert masks.of(photo.digest) is None
    assert [(row.version, row.removed_at is None) for row in masks.versions()] == [(2, False), (1, True)]
    assert masks.remove(photo.digest).version == 2, "as when the answer to the first call was lost"
    with pytest.raises(MaskNotFound, match="has no mask"):
        masks.remove(world.digest("another photo"))
    assert masks.set(photo, world.artifact("mask two"), "").version == 3


def test_a_mask_is_of_one_photo(world: Any, masks: Masks) -> None:
    masks.set(world.artifact("photo"), world.artifact("mask"), "")
    world.job("job-2", "another photo")
    assert masks.of(world.digest("another photo")) is None
    assert masks.versions(world.digest("another photo")) == []


def test_lineage_says_which_versions_of_its_photos_mask_a_job_took(world: Any, masks: Masks) -> None:
    photo = world.artifact("photo")
    for mask in ("mask one", "mask two", "mask one"):
        masks.set(photo, world.artifact(mask), "")
    masks.set(world.artifact("another photo"), world.artifact("mask two"), "")
    for number, mask in enumerate(("mask one", "mask two", "mask never set")):
        job_id, cut = f"job with {mask}", f"cut by {mask}"
        world.job(job_id)
        masks.set(world.artifact(f"photo {number}"), world.artifact(mask), "")  # known artifacts, of other photos
        world.run(world.parts("cut_out", inputs={"photo": "photo", "mask": mask}), cut, job_id, role="product")
        world.ledger.record_output(job_id, "final", world.artifact(cut), f"s3://out/{number}.png")
    versions = [world.lineage.ancestry(f"job with {mask}").inputs["mask"].versions
                for mask in ("mask one", "mask two", "mask never set")]
    assert versions == [(1, 3), (2,), ()]
    assert world.lineage.ancestry("job with mask two").inputs["photo"].versions == ()


def test_a_photo_is_found_by_its_digest_or_by_how_it_begins(world: Any, masks: Masks) -> None:
    photo = world.artifact("photo")
    assert masks.photo(photo.digest) == masks.photo(photo.digest[:8]) == photo
    for wrong in ("0" * 64, photo.digest[:7], "not hex!", world.digest("photo.jpg")):
        with pytest.raises(MaskNotFound, match=r"PHOTO=.*backlot mask list"):
            masks.photo(wrong)


def test_a_photo_no_job_has_read_is_found_once_it_has_a_mask(world: Any, masks: Masks) -> None:
    masks.set(world.artifact("unread"), world.artifact("mask"), "")
    assert masks.photo(world.digest("unread")) == world.artifact("unread")


@pytest.mark.parametrize("change", [{"version": 0}, {"mask_digest": "f" * 64}, {"photo_digest": "f" * 64}])
def test_what_is_no_version_of_a_mask_cannot_be_stored(world: Any, masks: Masks, change: dict[str, object]) -> None:
    row = {"photo_digest": world.digest("photo"), "version": 1, "mask_digest": world.digest("photo"), "note": "",
           "created_at": 1, **change}
    with pytest.raises(IntegrityError), world.database.write() as connection:
        connection.execute(text("INSERT INTO mask_override (photo_digest, version, mask_digest, note, created_at) "
                                "VALUES (:photo_digest, :version, :mask_digest, :note, :created_at)"), row)
