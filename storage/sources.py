"""Reading the photo a document names: a local path or file://, s3:// or https://, and what is remembered of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from storage.digests import sha256_hex
from storage.errors import SourceError
from storage.fetch import fetch
from storage.https_urls import split_https
from storage.images import check_image
from storage.local_files import read_local
from storage.s3_names import split_s3
from storage.settings import Settings

MOST_BYTES = 50_000_000
"""Of a local file or an object in a bucket; of an https:// url it is storage.fetch.LIMITS.bytes."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A photo as it was read. uri: without a query. version: what tells one state of it from another, never empty: a
    file's size and mtime, an object's VersionId or ETag, a url's ETag or Last-Modified, else its digest. mtime: unix
    seconds, None where its server does not say. digest: SHA-256 of its bytes."""

    uri: str
    version: str
    size: int
    mtime: float | None
    digest: str
    data: bytes


def read_source(image: str, *, settings: Settings) -> Source:
    """The bytes behind `image`: a local path or file:// uri under one of settings.input_roots, an s3:// uri in one of
    settings.input_buckets, or an https:// uri of a public host.

    Raises SourceError naming the field `image`, its value without secrets, and a remedy; SourceUnavailable where trying
    again may help; StoreUnavailable where S3 was tried often enough.
    """
    match check_image(image):
        case "https":
            return _from_https(image)
        case "s3":
            return _from_bucket(image, settings)
        case "file":
            path = os.fsdecode(unquote_to_bytes(image[len("file://"):].removeprefix("localhost")))
            return _from_folder(path, image, settings)
        case "path":
            return _from_folder(image, image, settings)


def _from_folder(path: str, image: str, settings: Settings) -> Source:
    file = read_local(path, settings.input_roots, image=image, most_bytes=MOST_BYTES)
    return Source(uri=file.path.as_uri(), version=f"{file.size}-{file.mtime_ns}", size=file.size,
                  mtime=file.mtime_ns / 1e9, digest=sha256_hex(file.data), data=file.data)


def _from_bucket(image: str, settings: Settings) -> Source:
    bucket, key = split_s3(image, "image")
    if not _allowed(bucket, key, settings.input_buckets):
        raise SourceError(image, "lies outside the buckets a document may read",
                          "Add its bucket, or bucket/prefix, to BACKLOT_INPUT_BUCKETS")
    from storage.s3 import read_object  # late: 0.3 s that other photos need not wait

    uri = f"s3://{bucket}/{key}"
    read = read_object(uri, s3_endpoint_url=settings.s3_endpoint_url, most_bytes=MOST_BYTES)
    return Source(uri=uri, version=read.version, size=read.size, mtime=read.mtime, digest=sha256_hex(read.data),
                  data=read.data)


def _allowed(bucket: str, key: str, input_buckets: Sequence[str]) -> bool:
    """By whole parts of the path: shop/in allows shop/in/a.jpg and not shop/inner/a.jpg."""
    name = f"{bucket}/{key}"
    return any(name.startswith(f"{allowed.rstrip('/')}/") for allowed in input_buckets)


def _from_https(image: str) -> Source:
    read = fetch(image)
    digest = sha256_hex(read.data)
    return Source(uri=split_https(image).uri, version=read.version or f"sha256-{digest[:16]}", size=len(read.data),
                  mtime=read.mtime, digest=digest, data=read.data)
