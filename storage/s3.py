"""S3 through s3fs, with one layer of retries: ours. Every request of a store and of an s3:// photo passes here.

s3fs alone retries 5 times around botocore's 5, and aiohttp doubles what a dropped connection lost: 25 to 50 requests
for one call (spec/reliability.md 0.5). Here each of them tries once, and one try is one request on the wire.
"""

from __future__ import annotations

import asyncio
import logging
import mimetypes
import os
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from aiobotocore.httpsession import AIOHTTPSession
from fsspec.asyn import sync_wrapper
from s3fs import S3FileSystem

from storage.errors import NoBucket, SourceError, StorageError, StoreUnavailable
from storage.s3_errors import Reading, read_error
from storage.s3_names import s3_refused, split_s3

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Patience:
    """The bounds of one logical call (put, get, list a page, copy, delete). Times in seconds.

    requests and seconds: spec/reliability.md G10. A transient error's 4 tries of its section 6.1 would lose 2.6 % of
    the calls where 40 % of the requests fail (0.4 to the 4th); 8 lose 0.07 %, and a job makes some 50 calls. connect,
    read: 6.3. pause: the first pause is drawn from 0 to this, its ceiling doubling up to `longest` (full jitter, 6.1);
    throttled: the same where the server asks to slow down. All ceilings together stay below `seconds`.
    """

    requests: int = 8
    seconds: float = 60.0
    connect: float = 3.0
    read: float = 20.0
    pause: float = 0.2
    longest: float = 5.0
    throttled: float = 1.0
    throttled_longest: float = 8.0

    def before_next(self, tried: int, why: Reading) -> float:
        first, longest = ((self.throttled, self.throttled_longest) if why.kind == "throttled"
                          else (self.pause, self.longest))
        return max(why.seconds, random.uniform(0, min(longest, first * 2 ** (tried - 1))))


PATIENCE = Patience()
BRIEF = Patience(requests=3, seconds=10.0, read=5.0)
"""For questions that somebody waits for at a terminal."""


class ConditionFailed(OSError):
    """An If-Match or If-None-Match did not hold (HTTP 412)."""


class _OneRequestEach(AIOHTTPSession):  # type: ignore[misc]  # aiobotocore has no types
    """aiohttp sends a request again, unseen, when its connection drops. For that there is no public switch; a test
    counts requests on the wire and fails where this one is gone."""

    async def _get_session(self, proxy_url: str | None) -> Any:
        session = await super()._get_session(proxy_url)
        session._retry_connection = False
        return session


class S3Files(S3FileSystem):  # type: ignore[misc]  # s3fs has no types
    """s3fs whose every call is patient and fails in our words. setting: whose url it serves, named in errors.

    Raises FileNotFoundError, FileExistsError or ConditionFailed for answers; StoreUnavailable once patience is at its
    end; StorageError (SourceError for an image) at once for what trying again cannot mend. Safe for threads; not
    across a fork, which it refuses: the thread that talks to S3 does not live on in the child.
    """

    retries = 1

    def __init__(self, setting: str, *, endpoint_url: str | None, patience: Patience, **ignored: object) -> None:
        # ignored: what the user's fsspec configuration says of s3. Only BACKLOT_* and botocore's own AWS_* decide here.
        config = {
            "connect_timeout": patience.connect, "read_timeout": patience.read, "max_pool_connections": 32,
            "retries": {"mode": "standard", "total_max_attempts": 1}, "http_session_cls": _OneRequestEach,
            "signature_version": "s3v4",
            # Some S3-like servers know no checksum trailers, or answer a range with the checksum of the whole object
            # (spec/reliability.md 1.1). Without them botocore signs the body's SHA-256, which AWS checks as well.
            "request_checksum_calculation": "when_required", "response_checksum_validation": "when_required",
            **({"s3": {"addressing_style": "path"}} if endpoint_url else {}),
        }
        super().__init__(endpoint_url=endpoint_url, config_kwargs=config, use_listings_cache=False)
        self.setting = setting
        self.patience = patience

    @property
    def loop(self) -> Any:
        if self._pid != os.getpid():
            raise StorageError("this store was opened before the process forked", field=self.setting, value="s3://",
                               remedy="Open it in the child, or start workers as new interpreters (spawn)")
        return self._loop

    async def _call_s3(self, method: str, *akwarglist: Any, **kwargs: Any) -> Any:
        """The one way on which s3fs asks S3: what it builds on it (find, ls, rm_file …) is patient too."""
        path = "/".join(kwargs[name] for name in ("Bucket", "Key") if name in kwargs)
        return await self._patiently(method, path, lambda: self._request(method, *akwarglist, **kwargs))

    async def _request(self, method: str, *akwarglist: Any, **kwargs: Any) -> Any:
        return await super()._call_s3(method, *akwarglist, **kwargs)

    async def _patiently(self, what: str, path: str, once: Callable[[], Awaitable[T]]) -> T:
        clock = asyncio.get_running_loop().time
        begun = clock()
        end = begun + self.patience.seconds
        tried = 0
        while True:
            try:
                async with asyncio.timeout_at(end):
                    return await once()
            except Exception as error:
                tried += 1
                why = read_error(error)
                if why.kind == "unknown":
                    raise
                if why.kind not in ("again", "throttled"):
                    raise self._answer(why, path) from error
                pause = self.patience.before_next(tried, why)
                if tried == self.patience.requests or clock() + pause + self.patience.connect > end:
                    raise StoreUnavailable(
                        self.setting, f"s3://{path}",
                        f"{what} tried {tried} times in {clock() - begun:.1f} s, at last {why.name}") from error
                log.info("s3://%s: %s failed (%s), again in %.1f s", path, what, why.name, pause)
                await asyncio.sleep(pause)

    def _answer(self, why: Reading, path: str) -> Exception:
        """The exception for what trying again would not change."""
        url = f"s3://{path}"
        if why.kind == "missing":
            return FileNotFoundError(url)
        if why.kind == "condition":
            return ConditionFailed(url)
        if why.name == "NoSuchBucket" and self.setting != "image":
            return NoBucket(why.message, field=self.setting, value=url, remedy=why.remedy)
        if why.of_input:
            return s3_refused(self.setting, url, why.message, why.remedy)
        return StorageError(why.message, field=self.setting, value=url, remedy=why.remedy)

    async def _read(self, path: str, check: Callable[[int], None] = lambda size: None,
                    **options: Any) -> tuple[bytes, dict[str, Any]]:
        """The object's bytes and the answer's other fields (ETag, VersionId, LastModified …), both of one version:
        one GET, begun again where its body breaks off. check: told the size before a byte is read; may raise."""
        bucket, _, key = path.partition("/")

        async def once() -> tuple[bytes, dict[str, Any]]:
            answer = await self._request("get_object", Bucket=bucket, Key=key, **options)
            async with answer.pop("Body") as body:
                check(answer["ContentLength"])
                return await body.read(), answer

        return await self._patiently("get_object", path, once)

    read = sync_wrapper(_read)

    async def _cat_file(self, path: str, version_id: str | None = None, start: int | None = None,
                        end: int | None = None, **ignored: object) -> bytes:
        options: dict[str, Any] = {} if version_id is None else {"VersionId": version_id}
        if start is not None or end is not None:
            options["Range"] = await self._process_limits(path, start, end)
        return (await self._read(path, **options))[0]

    async def _pipe_file(self, path: str, data: bytes, mode: str = "overwrite", **ignored: object) -> None:
        """One PUT whatever the size: of a multipart upload some stores ignore the condition
        (spec/reliability.md 1.1 e). A PUT whose answer was lost is sent again: the same bytes under the same name.

        mode="create": FileExistsError where the name is taken, also by an own earlier try. Stores that ignore the
        condition overwrite; storage/probe.py tells which.
        """
        condition = {"IfNoneMatch": "*"} if mode == "create" else {}
        bucket, _, key = path.partition("/")
        media_type = mimetypes.guess_type(key)[0] or "application/octet-stream"
        try:
            await self._call_s3("put_object", Bucket=bucket, Key=key, Body=data, ContentType=media_type, **condition)
        except ConditionFailed as error:
            raise FileExistsError(f"s3://{path}") from error

    async def _set_aside(self, path: str, aside: str, is_bad: Callable[[bytes], bool]) -> bool:
        """Copy a damaged object to `aside`, then delete it, both only while it is the version that was judged.

        Someone who replaces it by good bytes in between loses nothing where the store honours If-Match on DELETE (AWS
        since 2025, moto). Elsewhere that writer's bytes go too, if they arrive between the copy and the delete; the
        next reader then finds them missing, and they are made anew. Where copying or deleting is forbidden, the damage
        stays: readers go on refusing it, and the next put of these bytes replaces it.

        False where there was nothing bad to move: another reader or writer was quicker.
        """
        bucket, _, key = path.partition("/")
        try:
            data, facts = await self._read(path)
            if not is_bad(data):
                return False
            seen = facts["ETag"]
            await self._call_s3("copy_object", Bucket=bucket, Key=aside.partition("/")[2],
                                CopySource={"Bucket": bucket, "Key": key}, CopySourceIfMatch=seen)
            await self._call_s3("delete_object", Bucket=bucket, Key=key, IfMatch=seen)
        except (FileNotFoundError, ConditionFailed):
            return False
        except StoreUnavailable:
            raise
        except StorageError as error:
            log.warning("a damaged object cannot be set aside and stays until it is made anew: %s", error)
        return True

    set_aside = sync_wrapper(_set_aside)


def open_s3(url: str, setting: str, *, endpoint_url: str | None,
            patience: Patience | None = None) -> tuple[S3Files, str]:
    """The file system behind an s3:// url and the root in it. Connects at the first call, not here; one of each kind a
    process (fsspec keeps them), so that their connections are shared. Raises StorageError for a url that is none."""
    bucket, key = split_s3(url, setting)
    files = S3Files(setting, endpoint_url=endpoint_url, patience=patience or PATIENCE)
    return files, f"{bucket}/{key}".rstrip("/")


@dataclass(frozen=True, kw_only=True)
class S3Object:
    """An object as it was read. version: VersionId in a versioned bucket, else the ETag; mtime: unix seconds."""

    data: bytes
    version: str
    size: int
    mtime: float


def read_object(uri: str, *, s3_endpoint_url: str | None, most_bytes: int) -> S3Object:
    """The object that a document's image names. What is described is what was read: both come from one answer.

    Raises SourceError where it is missing, forbidden, empty or larger than `most_bytes` (known before a byte of it is
    read); StorageError where the credentials or the clock are at fault; StoreUnavailable.
    """
    def check(size: int) -> None:
        if not 0 < size <= most_bytes:
            raise SourceError(uri, f"has {size} bytes", f"Give a file of 1 to {most_bytes} bytes")

    files, path = open_s3(uri, "image", endpoint_url=s3_endpoint_url)
    if "/" not in path:
        raise SourceError(uri, "names a bucket and no object", "Give s3://bucket/key")
    try:
        data, facts = files.read(path, check)
    except FileNotFoundError as error:
        raise SourceError(uri, "there is no such object", "Check the bucket and the key") from error
    version = facts.get("VersionId", "null")  # "null" is S3's word for an object older than its bucket's versioning
    changed: datetime = facts["LastModified"]
    return S3Object(data=data, version=facts["ETag"].strip('"') if version == "null" else version, size=len(data),
                    mtime=changed.timestamp())
