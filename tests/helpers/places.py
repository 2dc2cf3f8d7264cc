"""A place that a store may be in, a folder or a bucket of a real server, so that one test serves both."""

from __future__ import annotations

from dataclasses import dataclass

import fsspec


@dataclass(frozen=True)
class Place:
    """url, endpoint: what Backlot is told. The rest looks and meddles past Backlot's own code, by names below url."""

    url: str
    endpoint: str | None
    files: fsspec.AbstractFileSystem

    def uri(self, name: str) -> str:
        return str(self.files.unstrip_protocol(f"{self.url}/{name}"))

    def names(self) -> set[str]:
        root = self.files._strip_protocol(self.url)
        return {name.removeprefix(f"{root}/") for name in self.files.find(root)}

    def read(self, name: str) -> bytes:
        return bytes(self.files.cat_file(f"{self.url}/{name}"))

    def write(self, name: str, data: bytes) -> None:
        self.files.pipe_file(f"{self.url}/{name}", data)

    def remove(self, name: str) -> None:
        self.files.rm_file(f"{self.url}/{name}")
