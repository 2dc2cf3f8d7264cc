"""What the field `image` of a document may say, judged by its text alone: needs no network, no file and no setting."""

from __future__ import annotations

import re
from typing import Literal

from storage.errors import SourceError
from storage.https_urls import Refusal, split_https
from storage.redaction import holds_user_info, lets_in, redacted
from storage.s3_names import split_s3

Scheme = Literal["path", "file", "s3", "https"]

MOST_CHARACTERS = 4096
"""Linux's PATH_MAX; documents allow fewer."""
KINDS = "Give a local path, a file://, an s3:// or an https:// uri"

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_BUCKET_INSTEAD = "Put the photo into a bucket of BACKLOT_INPUT_BUCKETS and give its s3:// uri"


def check_image(image: str) -> Scheme:
    """How `image` is to be read. Called at the document's door and again before reading: a document is stored before
    its photo is read, and no secret may be stored with it.

    Raises SourceError, which never repeats user info, query or fragment: another scheme, user info, a signature or
    token, a fragment, backslashes, control characters, more than 4096 characters, a bad host or bucket.
    """
    scheme = _scheme(image)
    if lets_in(image if scheme != "path" else "".join(image.partition("?")[1:])):
        raise refused(image, "carries a signature, a token or a key", f"{_BUCKET_INSTEAD}, or one that needs none")
    if scheme == "path":
        return scheme
    rest = image[len(scheme) + len("://"):]
    if scheme != "https" and holds_user_info(image):  # split_https sees to its own
        raise refused(image, "holds a user name or a password", "Leave it out: the AWS_* variables say who asks")
    if "#" in rest:
        raise refused(image, "holds a fragment (#)", "Leave it out; in a file's name write %23")
    if scheme == "https":
        try:
            split_https(image)
        except Refusal as why:
            raise refused(image, why.message, why.remedy) from None
    elif "?" in rest:
        raise refused(image, "holds a query (?)", "Leave it out; in a file's name write %3F")
    elif scheme == "s3":
        _check_s3(image)
    elif not rest.startswith(("/", "localhost/")):
        raise refused(image, "names another host", "Give file:///path")
    return scheme


def _scheme(image: str) -> Scheme:
    if not image.strip():
        raise refused(image, "names no picture", KINDS)
    if len(image) > MOST_CHARACTERS:
        raise refused(image, f"cannot be read: it has {len(image)} characters", f"Give at most {MOST_CHARACTERS}")
    if _CONTROL.search(image) or "\\" in image:
        raise refused(image, "cannot be read: it holds a control character or a backslash", KINDS)
    found = _SCHEME.match(image)
    if found is None:
        if image.startswith("//") or "://" in image:
            raise refused(image, "is neither a path nor a uri", KINDS)
        return "path"
    scheme = found[1].lower()
    if scheme == "http":
        raise refused(image, "would be fetched without encryption", "Give its https:// uri")
    for known in ("file", "s3", "https"):
        if scheme == known and image[found.end():].startswith("//"):
            return known
    raise refused(image, "is a kind of uri that is not read", f"{KINDS}; a file's name with a colon begins with ./")


def _check_s3(image: str) -> None:
    """A key is opaque: %2e is three characters and Unicode is not normalised. What clients would rewrite is refused."""
    split_s3(image, "image")
    key = image[len("s3://"):].partition("/")[2]
    if not key or key.startswith("/") or key.endswith("/"):
        raise refused(image, "names no object", "Give s3://bucket/key; the key neither begins nor ends with /")


def refused(image: str, message: str, remedy: str) -> SourceError:
    return SourceError(redacted(image), message, remedy)
