"""The doctor at real Prefect servers: open, closed, away, and things that are none."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_KEY, PREFECT_API_URL, temporary_settings

from tasks import doctor_prefect
from tasks.diagnosis import Line


def asked(url: str | None, auth: str | None = None, key: str | None = None) -> list[Line]:
    with temporary_settings({PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: auth, PREFECT_API_KEY: key}):
        return list(doctor_prefect.prefect())


def only(lines: list[Line]) -> Line:
    [line] = lines
    return line


def anywhere(url: str) -> str:
    """The same server under an address that is not loopback: 0.0.0.0 leads here too."""
    return url.replace("127.0.0.1", "0.0.0.0")


def test_without_a_server_each_run_starts_its_own() -> None:
    line = only(asked(None))
    assert (line.verdict, "each run starts an embedded server" in line.said) == ("ok", True)


def test_an_open_server_on_loopback_is_well(prefect_server: str) -> None:
    line = only(asked(prefect_server))
    assert line.verdict == "ok"
    assert "answers (open to this machine), version 3.8.8" in line.said


def test_an_open_server_that_others_can_reach_fails_with_the_variable_to_set(prefect_server: str) -> None:
    bad, told = asked(anywhere(prefect_server))
    assert bad.verdict == "failed"
    assert "lets in anybody who reaches it" in bad.said
    assert "PREFECT_SERVER_API_AUTH_STRING" in bad.remedy
    assert told.verdict == "ok"


def test_a_server_of_another_version_is_noted(prefect_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_prefect, "version", lambda name: "3.7.1")
    line = only(asked(prefect_server))
    assert line.verdict == "warning"
    assert "version 3.8.8, and this machine has 3.7.1" in line.said


def test_a_dead_port_and_a_name_that_leads_nowhere_fail() -> None:
    for url, why in (("http://127.0.0.1:1/api", "refused"), ("http://no-such-host.invalid/api", "known"),
                     ("http://shop:CANARY@127.0.0.1:1/api", "")):
        line = only(asked(url))
        assert line.verdict == "failed"
        assert why in line.said
        assert "prefect server start" in line.remedy
        assert "CANARY" not in str(line)


def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_prefect, "SECONDS", 0.2)
    begun = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        line = only(asked(f"http://127.0.0.1:{silent.getsockname()[1]}/api"))
    assert (line.verdict, "timed out" in line.said) == ("failed", True)
    assert time.monotonic() - begun < 30


def test_an_address_that_is_not_the_apis_fails(prefect_server: str) -> None:
    line = only(asked(f"{prefect_server.removesuffix('/api')}/nothing"))
    assert line.verdict == "failed"
    assert "is no Prefect API (HTTP " in line.said


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """A Prefect server of its own that asks for credentials."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    home = tmp_path_factory.mktemp("guarded")
    log = (home / "log").open("w")
    server = subprocess.Popen(
        [sys.executable, "-m", "prefect", "server", "start", "--port", str(port), "--no-services"], stdout=log,
        stderr=log, env={**os.environ, "PREFECT_HOME": str(home), "PREFECT_SERVER_API_AUTH_STRING": "shop:CANARY"})
    url = f"http://127.0.0.1:{port}/api"
    try:
        _wait(server, f"{url}/health", home / "log")
        yield url
    finally:
        server.terminate()
        server.wait(timeout=30)
        log.close()


def _wait(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    until = time.monotonic() + 120
    while True:
        try:
            urlopen(url, timeout=2).close()
            return
        except (URLError, OSError):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.2)


@pytest.mark.slow
def test_a_guarded_server_takes_our_credentials_or_refuses_them(guarded: str) -> None:
    fits = only(asked(guarded, "shop:CANARY"))
    assert (fits.verdict, "asks for credentials, ours fit" in fits.said) == ("ok", True)
    assert only(asked(anywhere(guarded), "shop:CANARY")).verdict == "ok"
    none = only(asked(guarded))
    assert (none.verdict, "none are set here" in none.said) == ("failed", True)
    for wrong in (only(asked(guarded, "shop:CANARY2")), only(asked(guarded, key="CANARY"))):
        assert (wrong.verdict, "refuses our credentials (HTTP 401)" in wrong.said) == ("failed", True)
        assert "CANARY" not in str(wrong)


@pytest.mark.slow
@pytest.mark.parametrize(("path", "body"), [
    ("admin/settings", None), ("admin/version", None), ("flow_runs/filter", b"{}"), ("logs/filter", b"{}"),
    ("block_documents/filter", b"{}"), ("flows/", b'{"name": "planted"}')])
def test_a_guarded_server_shows_and_takes_nothing_without_credentials(
        guarded: str, path: str, body: bytes | None) -> None:
    with pytest.raises(HTTPError, match="401"):
        urlopen(Request(f"{guarded}/{path}", data=body, headers={"Content-Type": "application/json"}), timeout=5)
