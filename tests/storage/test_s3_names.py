"""Urls of buckets: one shape, and nothing that could carry a secret into a database or a log."""

import pytest

from storage.errors import SourceError, StorageError
from storage.files import open_files
from storage.s3_names import is_s3, split_s3

SECRET = "AKIDCANARYCANARY00"


@pytest.mark.parametrize(("url", "parts"), [
    ("s3://bucket", ("bucket", "")),
    ("s3://bucket/", ("bucket", "")),
    ("s3://my-bucket.shop/in/2026/", ("my-bucket.shop", "in/2026")),
    ("S3://bucket/Foto 1 é%20+.JPG", ("bucket", "Foto 1 é%20+.JPG")),
])
def test_a_url_is_a_bucket_and_a_key_taken_as_it_stands(url: str, parts: tuple[str, str]) -> None:
    assert is_s3(url)
    assert split_s3(url, "image") == parts


@pytest.mark.parametrize(("url", "said"), [
    ("s3://", "is not a bucket's name"),
    ("s3:///key", "is not a bucket's name"),
    ("s3://f/key", "is not a bucket's name"),
    ("s3://Bucket/key", "is not a bucket's name"),
    ("s3://under_score/key", "is not a bucket's name"),
    ("s3://two..dots/key", "is not a bucket's name"),
    ("s3://192.168.0.1/key", "is not a bucket's name"),
    ("s3://bucket:9000/key", "is not a bucket's name"),
    ("s3://bucket/../other/key", "its key holds"),
    ("s3://bucket/a//b", "its key holds"),
    ("s3://bucket/a\nb", "its key holds"),
    ("s3://bucket/key?versionId=1", "holds more than a bucket and a key"),
    ("s3://bucket/key#part", "holds more than a bucket and a key"),
    (f"s3://{SECRET}:{SECRET}@bucket/key", "holds more than a bucket and a key"),
    (f"s3://bucket/key?X-Amz-Signature={SECRET}", "holds more than a bucket and a key"),
])
@pytest.mark.parametrize("setting", ["artifacts_url", "image"])
def test_a_url_that_is_no_bucket_and_key_is_refused_and_its_secrets_not_repeated(
        setting: str, url: str, said: str) -> None:
    with pytest.raises(StorageError, match=f"^{setting}='s3://.*{said}") as refused:
        open_files(url, setting)
    assert SECRET not in str(refused.value)
    assert isinstance(refused.value, SourceError) == (setting == "image")
