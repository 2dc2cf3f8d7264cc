"""Which files a document may name, and what is remembered of the one that was read."""

import os
from pathlib import Path

import pytest

from storage.digests import sha256_hex
from storage.errors import SourceError
from storage.sources import MOST_BYTES, read_source


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "a b.jpg"
    path.parent.mkdir()
    path.write_bytes(b"jpeg")
    os.utime(path, ns=(1_500_000_000, 1_500_000_000))
    return path


def test_a_file_is_read_with_its_digest_and_version(photo: Path) -> None:
    source = read_source(str(photo), [photo.parent])
    assert (source.data, source.digest, source.size, source.mtime) == (b"jpeg", sha256_hex(b"jpeg"), 4, 1.5)
    assert source.version == "4-1500000000"
    assert source.uri == photo.as_uri()


def test_a_file_uri_names_the_same_file_as_its_path(photo: Path) -> None:
    assert read_source(photo.as_uri(), [photo.parent]) == read_source(str(photo), [photo.parent])


@pytest.mark.parametrize("name", ["../secret.jpg", "link.jpg", "/etc/hostname"])
def test_nothing_outside_the_roots_is_read_or_told_about(photo: Path, name: str) -> None:
    (photo.parents[1] / "secret.jpg").write_bytes(b"secret")
    (photo.parent / "link.jpg").symlink_to("../secret.jpg")
    with pytest.raises(SourceError, match="lies outside") as refused:
        read_source(str(photo.parent / name), [photo.parent])
    assert (refused.value.field, refused.value.value) == ("image", str(photo.parent / name))


def test_by_default_nothing_is_allowed(photo: Path) -> None:
    with pytest.raises(SourceError, match="lies outside"):
        read_source(str(photo), [])


@pytest.mark.parametrize(("name", "said"), [
    ("none.jpg", "no such file"), ("folder", "not a file"), ("empty.jpg", "has 0 bytes"), ("huge.jpg", "bytes")])
def test_what_cannot_be_a_photo_is_refused_before_it_is_read(photo: Path, name: str, said: str) -> None:
    (photo.parent / "folder").mkdir()
    (photo.parent / "empty.jpg").touch()
    with (photo.parent / "huge.jpg").open("wb") as huge:
        huge.truncate(MOST_BYTES + 1)
    with pytest.raises(SourceError, match=said):
        read_source(str(photo.parent / name), [photo.parent])


@pytest.mark.parametrize("uri", ["https://shop/a.jpg", "s3://shop/a.jpg", "ftp://shop/a.jpg"])
def test_other_schemes_are_not_read_yet(uri: str) -> None:
    with pytest.raises(SourceError, match="is not read yet"):
        read_source(uri, [Path("/")])
