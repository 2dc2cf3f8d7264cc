"""A real TLS server on loopback whose answers a test scripts; its fixtures are in photo_server_fixtures.py. Linux takes
127.0.0.2 as a loopback address of its own: here it stands for a public one."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from storage.addresses import Address, is_public
from storage.fetch import Fetched, Limits, fetch

PUBLIC = "127.0.0.2"
"""The server's address; `seems_public` takes it for one of the public internet."""
NAMES = ("shop.example", "cdn.example", "xn--bcher-kva.example")
PHOTO = b"\xff\xd8\xff a photo"

Answer = bytes | Callable[["Visit"], None]


def seems_public(address: Address) -> bool:
    return address == IPv4Address(PUBLIC) or is_public(address)


def answer(body: bytes = PHOTO, status: str = "200 OK", **headers: str) -> bytes:
    """The bytes of an answer. headers: etag="x", content_length="9" …; a Content-Length that fits, unless given."""
    named = {"content_length": str(len(body)), **headers}
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in named.items()]
    return f"HTTP/1.1 {status}\r\n{''.join(lines)}\r\n".encode() + body


def redirect(to: str, status: str = "302 Found") -> bytes:
    return answer(b"", status, location=to)


@dataclass(frozen=True)
class Request:
    server_name: str | None  # as TLS was told (SNI)
    target: str
    headers: dict[str, str]


@dataclass(frozen=True)
class Visit:
    """What a scripted answer may do. stop: set when the test is over; a wait on it ends then."""

    connection: ssl.SSLSocket
    stop: threading.Event

    def send_every(self, seconds: float, pieces: Iterator[bytes]) -> None:
        for piece in pieces:
            self.connection.sendall(piece)
            if self.stop.wait(seconds):
                return


@dataclass(eq=False)
class PhotoServer:
    """answers: target -> what it gives; anything else is a 404. seen: the requests. asked: the names
    that were resolved. trust: a client's context. also: further ports that a fetch may name."""

    port: int
    trust: ssl.SSLContext
    answers: dict[str, Answer] = field(default_factory=dict)
    seen: list[Request] = field(default_factory=list)
    connections: int = 0
    asked: list[str] = field(default_factory=list)
    also: tuple[int, ...] = ()

    def url(self, target: str = "/a.jpg", host: str = "shop.example") -> str:
        return f"https://{host}:{self.port}{target}"

    def resolve(self, host: str) -> list[str]:
        """DNS, as seen from here: each name is ours."""
        self.asked.append(host)
        return [PUBLIC]

    def limits(self, **other: float) -> Limits:
        return Limits(ports=(self.port, *self.also), **{"seconds": 5.0, "connect_seconds": 1.0, **other})  # type: ignore[arg-type]

    def fetch(self, target: str = "/a.jpg", **limits: float) -> Fetched:
        return fetch(target if "://" in target else self.url(target), limits=self.limits(**limits),
                     resolver=self.resolve, allowed=seems_public, ssl_context=self.trust)


@contextmanager
def listening(listener: socket.socket, serve: Callable[[socket.socket], None]) -> Generator[int]:
    """Give each connection to `serve` in a thread of its own; the port."""
    with listener:
        listener.settimeout(0.01)  # closing a socket does not wake up who accepts on it
        over = threading.Event()

        def accept() -> None:
            while not over.is_set():
                with suppress(TimeoutError):
                    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        yield listener.getsockname()[1]
        over.set()
        accepting.join()


def serve(server: PhotoServer, context: ssl.SSLContext, stop: threading.Event, plain: socket.socket) -> None:
    server.connections += 1
    names: list[str | None] = []
    context.sni_callback = lambda connection, name, _: names.append(name)
    with plain, suppress(OSError), context.wrap_socket(plain, server_side=True) as connection:
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(65536) or b"\r\n\r\n"
        first, *lines = head.decode().strip().split("\r\n")
        target = first.split(" ")[1]
        server.seen.append(Request(names[0] if names else None, target, dict(line.split(": ", 1) for line in lines)))
        given = server.answers.get(target, answer(b"none", "404 Not Found"))
        if isinstance(given, bytes):
            connection.sendall(given)
        else:
            given(Visit(connection, stop))


@dataclass(eq=False)
class Canary:
    """hits: connections to a port that is open on every address of this machine."""

    port: int = 0
    hits: int = 0
