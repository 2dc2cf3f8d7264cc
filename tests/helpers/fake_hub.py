"""A Hub on loopback that speaks what huggingface_hub asks: a repository's facts at a commit, and its files, small ones
answered themselves, large ones (Git LFS) by a redirect to another host, as the public Hub does. Answers can be spoilt.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

PIECE = 1 << 20


@dataclass
class Asked:
    """One request. token: was one sent along?"""

    method: str
    path: str
    first_byte: int
    token: bool


@dataclass
class Spoilt:
    """How the next answers about a path (its last part) go wrong. times: how many of them, then all is well.

    status, code: another status with its X-Error-Code; late: not before `go`. cut: the connection breaks after that
    many bytes. short: a well-formed body of that many bytes. other: other bytes of the same length. holds: sends that
    many bytes, then waits for `go`.
    """

    times: int = 1_000_000
    status: int = 0
    code: str = ""
    late: bool = False
    cut: int | None = None
    short: int | None = None
    other: bool = False
    holds: int | None = None


@dataclass
class FakeHub:
    """repos: name -> its commits, oldest first, each {path: bytes}. licences: what a repository's page says."""

    repos: dict[str, list[dict[str, bytes]]] = field(default_factory=dict)
    licences: dict[str, str] = field(default_factory=dict)
    spoilt: dict[str, Spoilt] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    go: threading.Event = field(default_factory=threading.Event)
    url: str = ""
    other_host: str = ""

    def publish(self, folder: Path) -> None:
        """Make each <owner>/<name> folder under `folder` a repository of one commit."""
        for repo in sorted(folder.glob("*/*")):
            if repo.is_dir():
                self.add(str(repo.relative_to(folder)), {
                    str(path.relative_to(repo)): path.read_bytes() for path in sorted(repo.rglob("*"))
                    if path.is_file()})

    def add(self, repo: str, files: Mapping[str, bytes]) -> str:
        """A new commit; its name."""
        self.repos.setdefault(repo, []).append(dict(files))
        return commit_name(repo, len(self.repos[repo]) - 1)

    def fetched(self) -> list[str]:
        """The paths of the files that were asked for, without the answers by the other host."""
        return [one.path.partition("/resolve/")[2].partition("/")[2] for one in self.asked if "/resolve/" in one.path]

    def spoil(self, name: str) -> Spoilt | None:
        spoilt = self.spoilt.get(name)
        if spoilt is None or spoilt.times == 0:
            return None
        spoilt.times -= 1
        return spoilt


def commit_name(repo: str, number: int) -> str:
    return hashlib.sha1(f"{repo}@{number}".encode()).hexdigest()


def is_large(path: str) -> bool:
    return path.endswith(".safetensors")


def blob(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@contextmanager
def fake_hub() -> Generator[FakeHub]:
    """Serving on 127.0.0.1, with the large files on 127.0.0.2, until the block ends."""
    hub = FakeHub()
    servers = [_Server((address, 0), type("Handler", (kind,), {"hub": hub}))
               for address, kind in (("127.0.0.1", _HubHandler), ("127.0.0.2", _LargeHandler))]
    hub.url, hub.other_host = (f"http://{server.server_address[0]}:{server.server_address[1]}" for server in servers)
    threads = [threading.Thread(target=server.serve_forever, args=(0.02,)) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield hub
    finally:
        hub.go.set()
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever was killed or had enough left in the middle of an answer."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._handle()

    def do_GET(self) -> None:
        self._handle()

    def log_message(self, *args: object) -> None:
        pass

    def _handle(self) -> None:
        path = unquote(urlsplit(self.path).path)
        first = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        self.hub.asked.append(Asked(self.command, path, first, "Authorization" in self.headers))
        self.reply(path, first)

    def reply(self, path: str, first: int) -> None:
        raise NotImplementedError

    def spoils(self, spoilt: Spoilt | None) -> bool:
        if spoilt is None or not spoilt.status:
            return False
        if spoilt.late:
            self.hub.go.wait(30)
        self.answer(spoilt.status, b"", {"X-Error-Code": spoilt.code} if spoilt.code else {})
        return True

    def answer(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class _HubHandler(_Handler):
    def reply(self, path: str, first: int) -> None:
        parts = path.strip("/").split("/")
        repo = "/".join(parts[2:4] if parts[0] == "api" else parts[:2])
        name = repo if parts[0] == "api" else path.rpartition("/")[2]
        if not is_large(name) and self.spoils(self.hub.spoil(name)):
            return
        commits = self.hub.repos.get(repo)
        if commits is None:
            self.answer(401, b"", {"X-Error-Message": "Invalid username or password."})
            return
        revision = (parts[5] if len(parts) > 5 else "main") if parts[0] == "api" else parts[3]
        names = [commit_name(repo, number) for number in range(len(commits))]
        if revision not in ("main", *names):
            self.answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
            return
        number = len(names) - 1 if revision == "main" else names.index(revision)
        if parts[0] == "api":
            self._facts(repo, names[number], commits[number])
        else:
            self._file("/".join(parts[4:]), names[number], commits[number])

    def _facts(self, repo: str, commit: str, files: Mapping[str, bytes]) -> None:
        siblings = [{"rfilename": path, "size": len(data), "blobId": blob(data)} | (
            {"lfs": {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}}
            if is_large(path) else {}) for path, data in files.items()]
        facts = {"id": repo, "modelId": repo, "sha": commit, "siblings": siblings, "gated": False, "private": False,
                 "tags": [], "downloads": 0, "likes": 0}
        if repo in self.hub.licences:
            facts["cardData"] = {"license": self.hub.licences[repo]}
        self.answer(200, json.dumps(facts).encode(), {"Content-Type": "application/json"})

    def _file(self, path: str, commit: str, files: Mapping[str, bytes]) -> None:
        if path not in files:
            self.answer(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
            return
        digest = hashlib.sha256(files[path]).hexdigest()
        if is_large(path):
            self.answer(302, b"", {
                "Location": f"{self.hub.other_host}/{digest}/{path.rpartition('/')[2]}", "X-Repo-Commit": commit,
                "X-Linked-Size": str(len(files[path])), "X-Linked-Etag": f'"{digest}"'})
        else:
            self.answer(200, files[path], {"ETag": f'"{blob(files[path])}"', "X-Repo-Commit": commit})


class _LargeHandler(_Handler):
    def reply(self, path: str, first: int) -> None:
        _, digest, name = path.split("/")
        spoilt = self.hub.spoil(name)
        if self.spoils(spoilt):
            return
        data = next(data for commits in self.hub.repos.values() for files in commits for data in files.values()
                    if hashlib.sha256(data).hexdigest() == digest)
        body = data[first:]
        headers = {"Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"} if first else {}
        if spoilt is None:
            self.answer(206 if first else 200, body, headers)
        elif spoilt.other:
            self.answer(206 if first else 200, bytes(len(body)), headers)
        elif spoilt.short is not None:
            self.answer(200, body[:spoilt.short])
        else:
            self._stop_short(body, headers | {"Content-Length": str(len(body))}, spoilt)

    def _stop_short(self, body: bytes, headers: Mapping[str, str], spoilt: Spoilt) -> None:
        self.send_response(206 if "Content-Range" in headers else 200)
        for header, value in headers.items():
            self.send_header(header, value)
        self.end_headers()
        self.wfile.write(body[:spoilt.cut or spoilt.holds])
        self.wfile.flush()
        if spoilt.holds is not None:
            self.hub.go.wait(30)
        self.close_connection = True
