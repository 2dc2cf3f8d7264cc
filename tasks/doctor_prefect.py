"""The doctor's question to Prefect: does the server answer, whom does it let in, and is it of our version?"""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Sequence
from importlib.metadata import version
from ipaddress import ip_address
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from tasks.diagnosis import Line, failed, ok, warning

SECONDS = 4.0
_OPEN, _REFUSED = 200, (401, 403)


def prefect() -> Sequence[Line]:
    """About the server of PREFECT_API_URL or Prefect's profile; where none is named, each run starts its own."""
    from prefect.settings import get_current_settings  # 1 s and more to import

    api = get_current_settings().api
    if not api.url:
        return [ok("prefect", f"none is configured: each run starts an embedded server (Prefect {version('prefect')})")]
    url = api.url.rstrip("/")
    try:
        status, told = _ask(url, None)
        if status in _REFUSED:
            return [_guarded(url, _credential(api))]
    except (URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        return [failed("prefect", f"no server answers at {_shown(url)} ({reason})",
                       "Start it (`prefect server start`), or unset PREFECT_API_URL to use the embedded one")]
    if status != _OPEN:
        return [_odd(url, status)]
    lines = [] if _loopback(url) else [failed(
        "prefect", f"the server at {_shown(url)} lets in anybody who reaches it: flow runs, their parameters and "
        "settings can be read and changed", "Start it with PREFECT_SERVER_API_AUTH_STRING=user:password, and give "
        "workers and this machine the same as PREFECT_API_AUTH_STRING")]
    return [*lines, _answered(url, told, "open to this machine" if not lines else "open")]


def _guarded(url: str, credential: str | None) -> Line:
    """A server that asks for credentials: do ours fit?"""
    remedy = "Set PREFECT_API_AUTH_STRING to what the server was started with as PREFECT_SERVER_API_AUTH_STRING"
    if credential is None:
        return failed("prefect", f"the server at {_shown(url)} asks for credentials, and none are set here", remedy)
    status, told = _ask(url, credential)
    if status in _REFUSED:
        return failed("prefect", f"the server at {_shown(url)} refuses our credentials (HTTP {status})", remedy)
    return _answered(url, told, "asks for credentials, ours fit") if status == _OPEN else _odd(url, status)


def _answered(url: str, theirs: str, how: str) -> Line:
    ours = version("prefect")
    said = f"server at {_shown(url)} answers ({how}), version {theirs or 'unknown'}"
    if theirs and theirs.split(".")[:2] != ours.split(".")[:2]:
        return warning("prefect", f"{said}, and this machine has {ours}", f"Run the server with Prefect {ours}")
    return ok("prefect", said)


def _odd(url: str, status: int) -> Line:
    return failed("prefect", f"what answers at {_shown(url)} is no Prefect API (HTTP {status})",
                  "Correct PREFECT_API_URL: it ends in /api")


def _credential(api: Any) -> str | None:
    if api.auth_string is not None:
        return "Basic " + base64.b64encode(api.auth_string.get_secret_value().encode()).decode()
    return None if api.key is None else f"Bearer {api.key.get_secret_value()}"


def _ask(url: str, credential: str | None) -> tuple[int, str]:
    """The HTTP status of the API's version, and the version where it says one."""
    request = Request(f"{url}/admin/version", headers={"Authorization": credential} if credential else {})
    try:
        with build_opener(_NoRedirect).open(request, timeout=SECONDS) as answer:
            return answer.status, _word(answer.read(1000))
    except HTTPError as error:
        return error.code, ""


class _NoRedirect(HTTPRedirectHandler):
    """A redirect could carry our credentials to another host."""

    def redirect_request(self, *args: Any, **options: Any) -> None:
        return None


def _word(answer: bytes) -> str:
    try:
        word = json.loads(answer)
    except ValueError:
        return ""
    return word[:40] if isinstance(word, str) else ""


def _loopback(url: str) -> bool:
    """Does its host name only this very machine?"""
    found = socket.getaddrinfo(urlsplit(url).hostname, None)
    return all(ip_address(str(address[0]).partition("%")[0]).is_loopback for *_, address in found)


def _shown(url: str) -> str:
    """Without user info."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
