"""A real S3 server (moto, in a process of its own) and a proxy before it that breaks a share of the requests."""

from __future__ import annotations

import http.client
import random
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit
from uuid import uuid4

from s3fs import S3FileSystem

SECRET = "AKIDCANARYCANARY00"
"""Stands in every planted answer, as a real one may hold the access key; no error of ours may repeat it."""

_SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class S3:
    """endpoint: the server's address; bucket: an empty bucket of this test's own; files: plain s3fs, to plant and to
    look past Backlot's own code."""

    endpoint: str
    bucket: str
    files: Any

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}"

    def names(self, under: str = "") -> set[str]:
        """The keys below `under`, without it."""
        root = f"{self.bucket}/{under}".rstrip("/")
        return {name.removeprefix(f"{root}/") for name in self.files.find(root)}


@contextmanager
def moto_server() -> Generator[str]:
    """The address of a moto server that ends with the block, or with this process."""
    server = subprocess.Popen([sys.executable, "-c", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True)
    assert server.stdout is not None
    assert server.stdin is not None
    port = server.stdout.readline().strip()
    assert port, "moto did not start"
    yield f"http://127.0.0.1:{port}"
    server.stdin.close()
    server.wait(timeout=10)


def new_bucket(endpoint: str) -> S3:
    files = S3FileSystem(endpoint_url=endpoint, use_listings_cache=False)
    bucket = f"test-{uuid4().hex[:12]}"
    files.mkdir(bucket)
    return S3(endpoint=endpoint, bucket=bucket, files=files)


Fault = Literal["reset", "lost answer", "torn body", "hang"] | tuple[int, str]
"""reset: the connection drops before the server hears of it. lost answer: the server did it, then the connection drops.
torn body: half of the answer's body, then the connection drops. hang: nothing at all. A pair is an answer that the
server never gave: HTTP status and S3 code."""

SLOW_DOWN: Fault = (503, "SlowDown")
INTERNAL: Fault = (500, "InternalError")
CONFLICT: Fault = (409, "ConditionalRequestConflict")
DENIED: Fault = (403, "AccessDenied")


@dataclass(frozen=True)
class Request:
    number: int  # from 0, as they come in on the wire
    method: str
    path: str
    headers: dict[str, str]


@dataclass(eq=False)
class Proxy:
    """plan: the fault that a request meets, or None; it is asked before the server is, so it may also plant something
    there. seen: each request on the wire and its fault, in order."""

    url: str = ""
    plan: Callable[[Request], Fault | None] = lambda request: None
    seen: list[tuple[Request, Fault | None]] = field(default_factory=list)
    retry_after: str = ""  # seconds, told with each planted answer

    def methods(self) -> list[str]:
        return [request.method for request, _ in self.seen]


def share(rate: float, *faults: Fault, seed: int = 1) -> Callable[[Request], Fault | None]:
    """A plan: each request meets one of `faults` with probability `rate`."""
    dice = random.Random(seed)
    return lambda request: dice.choice(faults) if dice.random() < rate else None


def first(fault: Fault, method: str, times: int = 1) -> Callable[[Request], Fault | None]:
    """A plan: the first `times` requests of this method meet the fault."""
    left = iter([fault] * times)
    return lambda request: next(left, None) if request.method == method else None


@contextmanager
def proxy(endpoint: str, *, without: tuple[str, ...] = (), seconds_a_kilobyte: float = 0.0) -> Generator[Proxy]:
    """A proxy before the server at `endpoint`, in threads of this process. without: headers it does not hand on, so
    that the server seems not to know them. seconds_a_kilobyte: how slowly answers come."""
    state, stop, lock = Proxy(), threading.Event(), threading.Lock()

    class Relay(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def relay(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with lock:
                request = Request(len(state.seen), self.command, self.path, dict(self.headers))
                fault = state.plan(request)
                state.seen.append((request, fault))
            if isinstance(fault, tuple):
                status, code = fault
                told = {"Retry-After": state.retry_after} if state.retry_after else {}
                self.answer(status, {"Content-Type": "application/xml", **told},
                            f"<Error><Code>{code}</Code><Message>{SECRET}</Message></Error>".encode())
            elif fault == "hang":
                stop.wait(60)
                self.drop()
            elif fault == "reset":
                self.drop()
            else:
                status, headers, answered = self.forward(body)
                if fault == "lost answer":
                    self.drop()
                elif fault == "torn body":
                    self.answer(status, headers, answered, sent=len(answered) // 2)
                    self.drop()
                else:
                    self.answer(status, headers, answered)

        do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = relay  # noqa: N815

        def forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
            connection = http.client.HTTPConnection(urlsplit(endpoint).netloc, timeout=60)
            kept = {name: value for name, value in self.headers.items()
                    if name.lower() not in {"expect", "connection", *(one.lower() for one in without)}}
            connection.request(self.command, self.path, body=body, headers=kept)
            answer = connection.getresponse()
            told = {name: value for name, value in answer.getheaders()
                    if name.lower() not in ("connection", "transfer-encoding")}
            data = answer.read()
            connection.close()
            return answer.status, told, data

        def answer(self, status: int, headers: dict[str, str], body: bytes, sent: int | None = None) -> None:
            if self.command != "HEAD":
                headers = {**headers, "Content-Length": str(len(body))}
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                whole = body[:sent]
                step = 1000 if seconds_a_kilobyte else max(len(whole), 1)
                for begin in range(0, len(whole), step):
                    self.wfile.write(whole[begin:begin + step])
                    stop.wait(seconds_a_kilobyte)

        def drop(self) -> None:
            """End the connection at once, with a reset."""
            self.close_connection = True
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except (OSError, ValueError):  # the client went away, or we dropped it ourselves
                self.close_connection = True

        def finish(self) -> None:
            try:
                super().finish()
            except OSError:
                return

        def log_message(self, format: str, *args: Any) -> None:
            return

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            return  # a dropped connection is what is wanted here

    server = Server(("127.0.0.1", 0), Relay)
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        stop.set()
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)
