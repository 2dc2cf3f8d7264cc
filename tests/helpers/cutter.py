"""A line to PostgreSQL that can be cut right after a COMMIT took effect and before its answer arrives."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress

from sqlalchemy import make_url


class Cutter:
    """Passes bytes between `url` and the server. armed: at which COMMIT from now to cut; cuts: how often that was."""

    def __init__(self, server_url: str) -> None:
        server = make_url(server_url)
        folder = server.query.get("host")
        self._server = f"{folder}/.s.PGSQL.5432" if folder else (server.host or "localhost", server.port or 5432)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = server.set(host="127.0.0.1", port=self._listening.getsockname()[1], query={
            "sslmode": "disable"}).render_as_string(hide_password=False)
        self.armed = 0
        self.cuts = 0

    def serve(self) -> None:
        with suppress(OSError):  # until it is closed
            while True:
                client, _ = self._listening.accept()
                server = socket.socket(socket.AF_UNIX if isinstance(self._server, str) else socket.AF_INET)
                server.connect(self._server)
                threading.Thread(target=self._pass, args=(client, server), daemon=True).start()

    def _pass(self, client: socket.socket, server: socket.socket) -> None:
        other = {client: server, server: client}
        with client, server, suppress(OSError):
            while True:
                for one in select.select([client, server], [], [])[0]:
                    data = one.recv(1 << 16)
                    other[one].sendall(data)
                    if not data:
                        return
                    self.armed -= one is client and b"COMMIT" in data
                    if one is client and b"COMMIT" in data and self.armed == 0:
                        self.cuts += b"COMMIT" in server.recv(1 << 16)  # the server's word that it is done, for nobody
                        return

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


@contextmanager
def cutter(server_url: str) -> Generator[Cutter]:
    made = Cutter(server_url)
    threading.Thread(target=made.serve, daemon=True).start()
    try:
        yield made
    finally:
        made.close()
