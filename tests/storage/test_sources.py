"""Which photos a document may name, and what is remembered of the one that was read."""

import os
from pathlib import Path

import pytest
from photo_server import PHOTO, PhotoServer, answer
from s3 import S3

from storage import sources
from storage.digests import sha256_hex
from storage.errors import SourceError
from storage.settings import Settings
from storage.sources import MOST_BYTES, Source, read_source

pytest_plugins = ["store_fixtures", "photo_server_fixtures"]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "a b.jpg"
    path.parent.mkdir()
    path.write_bytes(b"jpeg")
    os.utime(path, ns=(1_500_000_000, 1_500_000_000))
    return path


def read(image: str, *roots: Path) -> Source:
    return read_source(image, settings=Settings(input_roots=roots))


def test_a_file_is_read_with_its_digest_and_version(photo: Path) -> None:
    assert read(str(photo), photo.parent) == Source(
        uri=photo.as_uri(), version="4-1500000000", size=4, mtime=1.5, digest=sha256_hex(b"jpeg"), data=b"jpeg")


def test_a_file_uri_names_the_same_file_as_its_path(photo: Path) -> None:
    for uri in (photo.as_uri(), f"file://{photo}", f"FILE://localhost{photo}"):
        assert read(uri, photo.parent) == read(str(photo), photo.parent)


@pytest.mark.parametrize("name", ["ä.jpg", "%41.jpg", "q?.jpg", "h#.jpg", os.fsdecode(b"\xff.jpg")])
def test_the_uri_that_is_kept_names_the_very_file_again(photo: Path, name: str) -> None:
    photo.rename(photo.with_name(name))
    source = read(str(photo.with_name(name)), photo.parent)
    assert read(source.uri, photo.parent) == source


@pytest.mark.parametrize("tail", ["../secret.jpg", "%2e%2e/secret.jpg", "..%2Fsecret.jpg", "%2e%2e%2fsecret.jpg",
    "/../secret.jpg"])
def test_no_encoding_of_a_file_uri_leads_out(photo: Path, tail: str) -> None:
    (photo.parents[1] / "secret.jpg").write_bytes(b"secret")
    with pytest.raises(SourceError, match="lies outside"):
        read(f"{photo.parent.as_uri()}/{tail}", photo.parent)


@pytest.mark.parametrize("tail", ["a%00b.jpg", "..%5Csecret.jpg", "%252e%252e/secret.jpg", "%zz.jpg",
    "%c0%ae%c0%ae/secret.jpg"])
def test_what_a_file_uri_hides_is_no_way_out_either(photo: Path, tail: str) -> None:
    (photo.parents[1] / "secret.jpg").write_bytes(b"secret")
    with pytest.raises(SourceError, match=r"cannot be read|no such file"):
        read(f"{photo.parent.as_uri()}/{tail}", photo.parent)


def test_by_default_no_local_file_and_no_bucket_is_allowed(photo: Path) -> None:
    for image in (str(photo), photo.as_uri(), "s3://bucket/a.jpg"):
        with pytest.raises(SourceError, match="lies outside"):
            read(image)


def test_a_file_larger_than_the_limit_is_refused_before_it_is_read(photo: Path) -> None:
    os.truncate(photo, MOST_BYTES + 1)
    with pytest.raises(SourceError, match="has 50000001 bytes"):
        read(str(photo), photo.parent)


def from_bucket(s3: S3, key: str, *allowed: str) -> Source:
    return read_source(f"{s3.url}/{key}", settings=Settings(s3_endpoint_url=s3.endpoint, input_buckets=allowed))


def test_a_photo_in_an_allowed_bucket_is_read(s3: S3) -> None:
    for key in ("a.jpg", "in/a.jpg", "in/a b+ü%2e.jpg"):
        s3.files.pipe_file(f"{s3.bucket}/{key}", key.encode())
        source = from_bucket(s3, key, "other", s3.bucket)
        facts = s3.files.info(f"{s3.bucket}/{key}")
        assert source == Source(uri=f"{s3.url}/{key}", version=facts["ETag"].strip('"'), size=len(key.encode()),
                                mtime=facts["LastModified"].timestamp(), digest=sha256_hex(key.encode()),
                                data=key.encode())


@pytest.mark.parametrize(("key", "prefix", "allowed"), [
    ("in/a.jpg", "in", True), ("in/a.jpg", "in/", True), ("in/deep/a.jpg", "in", True), ("in/deep/a.jpg", "in/deep",
    True),
    ("inner/a.jpg", "in", False), ("in.jpg", "in", False), ("in", "in", False), ("a.jpg", "in", False), ("IN/a.jpg",
    "in", False),
    ("%69n/a.jpg", "in", False), ("in/a.jpg", "in/a", False)])
def test_a_prefix_allows_what_lies_below_it_by_whole_parts(s3: S3, key: str, prefix: str, allowed: bool) -> None:
    s3.files.pipe_file(f"{s3.bucket}/{key}", b"jpeg")
    if allowed:
        assert from_bucket(s3, key, f"{s3.bucket}/{prefix}").data == b"jpeg"
    else:
        with pytest.raises(SourceError, match=r"lies outside the buckets.*BACKLOT_INPUT_BUCKETS"):
            from_bucket(s3, key, f"{s3.bucket}/{prefix}", f"{s3.bucket}x", s3.bucket[:-1])


@pytest.mark.parametrize("key", ["in/../out/a.jpg", "in//a.jpg", "in/./a.jpg", "/in/a.jpg", "in/a.jpg/",
    "in\\..\\a.jpg", "in/\0",
                                 "in/a.jpg?x", ""])
def test_a_key_that_somebody_might_rewrite_is_refused(s3: S3, key: str) -> None:
    with pytest.raises(SourceError, match=r"empty part|names no object|backslash|query"):
        from_bucket(s3, key, s3.bucket)


def test_a_photo_that_is_not_in_the_bucket_is_the_documents_error(s3: S3) -> None:
    with pytest.raises(SourceError, match="there is no such object"):
        from_bucket(s3, "a.jpg", s3.bucket)


@pytest.mark.parametrize(("headers", "version", "mtime"), [
    ({"etag": '"e1"'}, '"e1"', None),
    ({"last_modified": "Sat, 21 Nov 2026 10:00:00 GMT"}, "Sat, 21 Nov 2026 10:00:00 GMT", 1795255200.0),
    ({}, f"sha256-{sha256_hex(PHOTO)[:16]}", None)])
def test_a_fetched_photo_is_remembered_without_its_query_and_always_with_a_version(
        shop: PhotoServer, headers: dict[str, str], version: str, mtime: float | None,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "fetch", shop.fetch)
    shop.answers["/%C3%A4%20b.jpg?v=2"] = answer(**headers)
    assert read(shop.url("/ä b.jpg?v=2", "SHOP.example")) == Source(
        uri=shop.url("/%C3%A4%20b.jpg"), version=version, size=len(PHOTO), mtime=mtime, digest=sha256_hex(PHOTO),
        data=PHOTO)


def test_a_uri_is_checked_before_anything_is_asked(shop: PhotoServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "fetch", shop.fetch)
    with pytest.raises(SourceError, match="carries a signature"):
        read(shop.url("/a.jpg?sig=abc"))
    assert (shop.asked, shop.connections) == ([], 0)


def test_a_host_inside_is_refused_by_default() -> None:
    with pytest.raises(SourceError, match="outside the public internet"):
        read("https://169.254.169.254/latest/meta-data/")
