"""Photos in buckets: what is described is what was read, and whose error it is when nothing can be."""

import time
from collections.abc import Generator

import pytest
from s3 import DENIED, S3, Proxy, first, proxy

from storage.errors import SourceError, StorageError
from storage.s3 import Patience, S3Object, read_object

pytest_plugins = ["store_fixtures"]


@pytest.fixture
def between(s3: S3) -> Generator[Proxy]:
    with proxy(s3.endpoint) as opened:
        yield opened


def read(s3: S3, key: str, endpoint: str | None = None, most_bytes: int = 1000) -> S3Object:
    return read_object(f"{s3.url}/{key}", s3_endpoint_url=endpoint or s3.endpoint, most_bytes=most_bytes)


def test_a_photo_is_read_with_what_tells_its_version(s3: S3) -> None:
    before = time.time()
    s3.files.pipe_file(f"{s3.bucket}/in/a photo.jpg", b"photo")
    photo = read(s3, "in/a photo.jpg")
    assert (photo.data, photo.size) == (b"photo", 5)
    assert photo.version == s3.files.info(f"{s3.bucket}/in/a photo.jpg")["ETag"].strip('"')
    assert abs(photo.mtime - before) < 5


def test_in_a_versioned_bucket_the_version_is_the_version_id(s3: S3) -> None:
    s3.files.make_bucket_versioned(s3.bucket, True)
    s3.files.pipe_file(f"{s3.bucket}/photo.jpg", b"one")
    one = read(s3, "photo.jpg")
    s3.files.pipe_file(f"{s3.bucket}/photo.jpg", b"one")
    two = read(s3, "photo.jpg")
    assert one.data == two.data
    assert one.version != two.version
    assert not {one.version, two.version} & {"null", s3.files.info(f"{s3.bucket}/photo.jpg")["ETag"].strip('"')}


def test_a_photo_too_large_is_refused_before_its_bytes_are_read(s3: S3, between: Proxy) -> None:
    s3.files.pipe_file(f"{s3.bucket}/photo.jpg", b"x" * 1001)
    with pytest.raises(SourceError, match=r"image='s3://.*/photo.jpg': has 1001 bytes. Give a file of 1 to 1000 bytes"):
        read(s3, "photo.jpg", between.url)
    assert between.methods() == ["GET"]
    assert read(s3, "photo.jpg", most_bytes=1001).size == 1001


def test_an_empty_photo_is_refused(s3: S3) -> None:
    s3.files.pipe_file(f"{s3.bucket}/photo.jpg", b"")
    with pytest.raises(SourceError, match="has 0 bytes"):
        read(s3, "photo.jpg")


def test_a_photo_that_is_missing_is_its_authors_error(s3: S3) -> None:
    with pytest.raises(SourceError, match=r"image='s3://.*/photo.jpg': there is no such object"):
        read(s3, "photo.jpg")
    with pytest.raises(SourceError, match="there is no such bucket"):
        read_object("s3://no-such-bucket-here/photo.jpg", s3_endpoint_url=s3.endpoint, most_bytes=10)
    with pytest.raises(SourceError, match="names a bucket and no object"):
        read_object(s3.url, s3_endpoint_url=s3.endpoint, most_bytes=10)


def test_a_forbidden_photo_is_its_authors_error_and_a_wrong_key_the_operators(s3: S3, between: Proxy) -> None:
    between.plan = lambda request: DENIED
    with pytest.raises(SourceError, match="the server forbids it"):
        read(s3, "photo.jpg", between.url)
    between.plan = lambda request: (403, "InvalidAccessKeyId")
    with pytest.raises(StorageError) as wrong:
        read(s3, "photo.jpg", between.url)
    assert not isinstance(wrong.value, SourceError)
    assert wrong.value.field == "image"


def test_a_photo_whose_body_breaks_off_is_read_again(s3: S3, between: Proxy, short_pauses: Patience) -> None:
    s3.files.pipe_file(f"{s3.bucket}/photo.jpg", b"x" * 900)
    between.plan = first("torn body", "GET", times=3)
    assert read(s3, "photo.jpg", between.url).data == b"x" * 900
