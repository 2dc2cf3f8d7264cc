"""Fetching a photo from an https:// url that a stranger wrote: bounded in bytes and in time, public hosts only."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cache
from importlib.metadata import version
from urllib.parse import urljoin

import httpcore

from storage.addresses import Address, is_public
from storage.errors import SourceError, SourceUnavailable
from storage.guarded_network import Deadline, GuardedNetwork, Resolver, resolve
from storage.https_urls import PORT, HttpsUrl, Refusal, split_https
from storage.redaction import redacted

REDIRECTS = (301, 302, 303, 307, 308)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_WORD = re.compile(r"[\x21-\x7e]{1,200}")
_LATER = "Try again later"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """bytes, seconds (of everything from the first DNS question to the last byte, redirects included) and
    connect_seconds (for each address): spec/reliability.md G24. ports: those that may be connected to."""

    bytes: int = 25_000_000
    seconds: float = 10.0
    connect_seconds: float = 3.0
    redirects: int = 3
    ports: tuple[int, ...] = (PORT,)


LIMITS = Limits()


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """version: its ETag, else its Last-Modified as the server wrote it, else empty. mtime: Last-Modified in unix
    seconds. What the server calls its type is not kept: the bytes decide what it is."""

    data: bytes
    version: str
    mtime: float | None


def fetch(url: str, *, limits: Limits = LIMITS, resolver: Resolver = resolve,
          allowed: Callable[[Address], bool] = is_public, ssl_context: ssl.SSLContext | None = None) -> Fetched:
    """The bytes behind an https:// url. Tried once. resolver, allowed, ssl_context: for tests.

    Every host of a chain of redirects is vetted from scratch; no cookie, credential or referrer is ever sent. Raises
    SourceUnavailable for what trying again may mend (a timeout, a broken connection, HTTP 408, 429 and 5xx), else
    SourceError. Neither repeats a query or what an internal name resolves to.
    """
    deadline = Deadline(limits.seconds)
    network = GuardedNetwork(deadline, connect_seconds=limits.connect_seconds, resolver=resolver, allowed=allowed)
    where, path = url, ""
    try:
        for _ in range(limits.redirects + 1):
            asked = split_https(where)
            answer = _get(asked, network, limits, ssl_context)
            if isinstance(answer, Fetched):
                return answer
            where = _joined(where, answer)
            path = f"redirects to {redacted(where)!r}, which "
        raise Refusal(f"redirects more than {limits.redirects} times", "Give the url at the end of the redirects")
    except Refusal as why:
        kind = SourceUnavailable if why.passing else SourceError
        raise kind(redacted(url), path + why.message, why.remedy) from None
    except (TimeoutError, httpcore.TimeoutException) as error:
        raise SourceUnavailable(redacted(url), f"{path}did not answer in time (at most {limits.connect_seconds:g} s to "
                                f"connect, {limits.seconds:g} s in all)", _LATER) from error
    except (httpcore.NetworkError, httpcore.RemoteProtocolError) as error:
        # Without its cause, which may hold what the server sent, and so a url that lets in whoever reads it.
        raise SourceUnavailable(redacted(url), f"{path}broke the connection ({type(error).__name__})", _LATER) from None


def _get(url: HttpsUrl, network: GuardedNetwork, limits: Limits, ssl_context: ssl.SSLContext | None) -> Fetched | str:
    """One request over a connection of its own: the photo, or the Location of a redirect."""
    if url.port not in limits.ports:
        raise Refusal(f"names port {url.port}", f"Give a url of port {', '.join(map(str, limits.ports))}")
    target = httpcore.URL(scheme="https", host=url.host, port=url.port, target=url.path + url.query)
    headers = [("Host", url.authority), ("User-Agent", f"backlot/{version('backlot')}"), ("Accept", "*/*"),
               ("Accept-Encoding", "identity"), ("Connection", "close")]
    with (httpcore.ConnectionPool(ssl_context=ssl_context or _trusted(), network_backend=network) as pool,
          pool.stream("GET", target, headers=headers) as answer):
        told = [(name.lower(), value.decode("utf-8", "replace")) for name, value in answer.headers]
        if answer.status in REDIRECTS:
            return _location(answer.status, dict(told))
        _check_status(answer.status)
        for name, value in told:
            if name == b"content-encoding" and value.strip().lower() not in ("", "identity"):
                raise Refusal("answers with compressed bytes, for which it was not asked",
                              "Give a url that serves the file as it is")
        return _described(_body(answer, dict(told), limits.bytes), dict(told))


@cache
def _trusted() -> ssl.SSLContext:
    """The system's and certifi's authorities. Kept: reading them takes 56 ms (measured 2026-11-21)."""
    return httpcore.default_ssl_context()


def _location(status: int, told: dict[bytes, str]) -> str:
    if b"location" not in told:
        raise Refusal(f"answers {status} without a place to go", "Give the url of the photo itself")
    return told[b"location"]


def _joined(url: str, location: str) -> str:
    """Whatever comes out is read as strictly as a document's own url, and one with a scheme as it stands: urljoin takes
    https:///x for a path of the same host."""
    try:
        return location if _SCHEME.match(location) else urljoin(url, location)
    except ValueError:  # its message repeats the url
        raise Refusal("redirects to something that is no url", "Give the url of the photo itself") from None


def _check_status(status: int) -> None:
    """Classes: spec/reliability.md 6.1."""
    if status in (408, 429) or status >= 500:
        raise Refusal(f"answers {status}", _LATER, passing=True)
    if status != 200:
        raise Refusal(f"answers {status}", "Give the url of a photo that anybody may read")


def _body(answer: httpcore.Response, told: dict[bytes, str], most: int) -> bytes:
    """h11 sees to it that a body is as long as it was said to be: a shorter one is a broken connection, and of a longer
    one nothing more is read."""
    too_large = Refusal(f"has more than {most} bytes", f"Give a file of 1 to {most} bytes")
    if int(told.get(b"content-length", 0)) > most:
        raise too_large
    data = bytearray()
    for chunk in answer.iter_stream():
        data += chunk
        if len(data) > most:
            raise too_large
    if not data:
        raise Refusal("has 0 bytes", f"Give a file of 1 to {most} bytes")
    return bytes(data)


def _described(data: bytes, told: dict[bytes, str]) -> Fetched:
    changed = told.get(b"last-modified", "").strip()
    try:
        mtime = parsedate_to_datetime(changed).timestamp()
    except (ValueError, OverflowError):
        changed, mtime = "", None
    tag = told.get(b"etag", "").strip()
    return Fetched(data=data, version=tag if _WORD.fullmatch(tag) else changed, mtime=mtime)
