"""What an s3:// url may look like, and how one is refused. Needs no S3 library and no network."""

from __future__ import annotations

import re

from storage.errors import SourceError, StorageError
from storage.redaction import holds_user_info, redacted

_BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9-]|\.(?!\.)){1,61}[a-z0-9]")
"""The S3 user guide's rules for bucket names: 3 to 63 of these, no two dots in a row; it is no IPv4 address either."""
_IPV4 = re.compile(r"\d+\.\d+\.\d+\.\d+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def is_s3(url: str) -> bool:
    return url.lower().startswith("s3://")


def split_s3(url: str, field: str) -> tuple[str, str]:
    """(bucket, key) of s3://bucket/key; the key is "" for a whole bucket and has no '/' at either end.

    A key is taken as it stands: %20 is three characters. Raises StorageError (SourceError where `field` is image) for
    user info or a query, which would carry a secret into the database, and for what S3 or HTTP would read differently.
    """
    if holds_user_info(url) or "?" in url or "#" in url:
        raise s3_refused(field, redacted(url), "holds more than a bucket and a key",
                         "Give s3://bucket/key; the AWS_* variables or an AWS profile say who asks")
    bucket, _, key = url[len("s3://"):].partition("/")
    if not _BUCKET.fullmatch(bucket) or _IPV4.fullmatch(bucket):
        raise s3_refused(field, url, f"{bucket!r} is not a bucket's name",
                         "Give s3://bucket/key; a bucket's name has 3 to 63 of a-z, 0-9, '-' and '.'")
    key = key.strip("/")
    if _CONTROL.search(key) or any(part in ("", ".", "..") for part in key.split("/") if key):
        raise s3_refused(field, url, "its key holds an empty part, '.', '..' or a control character",
                         "Name the object otherwise: HTTP clients and servers disagree about such keys")
    return bucket, key


def s3_refused(field: str, url: str, message: str, remedy: str) -> StorageError:
    """What a document's image may be refused with is its author's to mend (SourceError), a setting the operator's."""
    if field == "image":
        return SourceError(url, message, remedy)
    return StorageError(message, field=field, value=url, remedy=remedy)
