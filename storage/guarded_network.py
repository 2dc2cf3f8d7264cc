"""The only way by which Backlot connects to a host that a document names (G23, G24).

httpcore asks this for every connection, so there is no path around the check of addresses and none around the deadline.
httpcore reads no proxy and no credential from the environment; ours gives it none.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from ipaddress import ip_address
from threading import Thread
from typing import Any

import httpcore

from storage.addresses import Address
from storage.https_urls import Refusal

Resolver = Callable[[str], Sequence[str]]
"""A host's name -> all its addresses. Raises Refusal."""

_NO_SUCH_HOST = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}


class Deadline:
    """The end of one fetch with all its steps. left: seconds until then; raises TimeoutError once there are none."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def resolve(host: str) -> list[str]:
    """All addresses of a name. The final dot keeps the system from trying it below this machine's own domains."""
    try:
        found = socket.getaddrinfo(f"{host}.", None, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    except socket.gaierror as error:
        if error.errno in _NO_SUCH_HOST:
            raise Refusal("has a host that does not exist", "Check the host's name") from error
        raise Refusal("has a host whose name cannot be resolved now", "Try again later", passing=True) from error
    return [str(answer[4][0]) for answer in found]


class GuardedNetwork(httpcore.NetworkBackend):
    """Connects where all addresses of a host are `allowed`, to one of those it looked at. A name is resolved once a
    connection, so an answer that changes afterwards (DNS rebinding) is never asked for.

    connect_seconds: for each address. What it raises beside httpcore's errors: Refusal, TimeoutError.
    """

    def __init__(self, deadline: Deadline, *, connect_seconds: float, resolver: Resolver,
                 allowed: Callable[[Address], bool]) -> None:
        self._deadline = deadline
        self._connect_seconds = connect_seconds
        self._resolver = resolver
        self._allowed = allowed
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,
                    socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None) -> httpcore.NetworkStream:
        failure: Exception = httpcore.ConnectError("no address")
        for address in self._vetted(host):
            try:
                stream = self._sockets.connect_tcp(
                    str(address), port, min(self._connect_seconds, self._deadline.left()), local_address,
                    socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _Bounded(stream, self._deadline)
        raise failure

    def _vetted(self, host: str) -> list[Address]:
        try:
            addresses = [ip_address(host)]
        except ValueError:
            found = dict.fromkeys(_within(self._deadline.left(), lambda: self._resolver(host)))
            addresses = [ip_address(address) for address in found]
        if not addresses:
            raise Refusal("has a host that does not exist", "Check the host's name")
        if not all(map(self._allowed, addresses)):  # which one is not told: it may be of a network we are inside of
            raise Refusal("has a host with an address outside the public internet",
                          "Put the photo on a public host, into a bucket, or into a folder of BACKLOT_INPUT_ROOTS")
        return addresses


class _Bounded(httpcore.NetworkStream):
    """A connection whose every wait ends with the deadline, however slowly bytes drip in."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.left())

    def close(self) -> None:
        self._stream.close()

    def start_tls(self, ssl_context: ssl.SSLContext, server_hostname: str | None = None,
                  timeout: float | None = None) -> httpcore.NetworkStream:
        try:
            return _Bounded(self._stream.start_tls(ssl_context, server_hostname, self._deadline.left()), self._deadline)
        except httpcore.ConnectError as error:
            if isinstance(error.__cause__, ssl.SSLCertVerificationError):
                raise Refusal("has a host whose certificate is not valid for it",
                              "Give a host that browsers open without a warning") from error
            raise

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _within(seconds: float, ask: Callable[[], Sequence[str]]) -> Sequence[str]:
    """getaddrinfo knows no timeout: it runs in a thread that is left behind when it takes too long. The thread is a
    daemon, so it does not hold up the end of the process."""
    answer: Future[Sequence[str]] = Future()

    def asked() -> None:
        try:
            answer.set_result(ask())
        except Exception as error:
            answer.set_exception(error)

    Thread(target=asked, name="resolve", daemon=True).start()
    return answer.result(seconds)
