"""The composition root: settings become a store, a database and a zoo, once a process."""

from __future__ import annotations

import socket
from collections import OrderedDict
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from os import getpid
from threading import Lock

from models.compiled import Compiler
from models.pictures import Picture, decode_png
from models.weights import PinnedModel, profile, resolve
from models.zoo import Zoo
from storage.artifacts import ArtifactStore
from storage.database import Database, open_database
from storage.ledger import Ledger
from storage.lineage import Lineage
from storage.masks import Masks
from storage.measured import must_be_there, shortcomings
from storage.outputs import Outputs
from storage.records import Artifact, ModelFile
from storage.settings import Settings
from tasks.gate import PhotoGate
from tasks.ladder import Ladder

DECODED_BYTES = 256 * 1024 * 1024
"""Decoded pictures kept in memory between passes; a 4 MP RGBA picture takes 16 MB."""


@dataclass(eq=False)
class Services:
    """Everything a pass meets. Built whole by `services()`; tests build their own and `use` it."""

    settings: Settings
    _pictures: OrderedDict[str, Picture] = field(default_factory=OrderedDict)
    _pins: dict[str, Mapping[str, PinnedModel]] = field(default_factory=dict)
    _known: set[str] = field(default_factory=set)
    _lock: Lock = field(default_factory=Lock)

    @cached_property
    def store(self) -> ArtifactStore:
        return ArtifactStore(self.settings.artifacts_url, s3_endpoint_url=self.settings.s3_endpoint_url)

    @cached_property
    def shortcomings(self) -> tuple[str, ...]:
        """What the store's bucket was found unable to do, a line each; asked once a process. Raises StoreUnavailable or
        NoBucket for the outputs' too."""
        must_be_there(self.settings.outputs_url, "outputs_url", s3_endpoint_url=self.settings.s3_endpoint_url)
        return shortcomings(self.settings.artifacts_url, "artifacts_url", s3_endpoint_url=self.settings.s3_endpoint_url)

    @cached_property
    def outputs(self) -> Outputs:
        return Outputs(self.settings.outputs_url, s3_endpoint_url=self.settings.s3_endpoint_url)

    @cached_property
    def database(self) -> Database:
        return open_database(self.settings.database_url)

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(self.database)

    @cached_property
    def lineage(self) -> Lineage:
        return Lineage(self.database)

    @cached_property
    def masks(self) -> Masks:
        return Masks(self.database)

    @cached_property
    def gate(self) -> PhotoGate:
        return PhotoGate()

    @cached_property
    def zoo(self) -> Zoo:
        return Zoo(device=self.settings.device, dtype=self.settings.dtype, compiler=Compiler(self.settings.compile))

    @cached_property
    def ladder(self) -> Ladder:
        """What passes took when the memory was too small, for as long as the zoo is there."""
        return Ladder()

    @property
    def worker(self) -> str:
        """Who holds a lease: host and process."""
        return f"{socket.gethostname()}:{getpid()}"

    def pinned(self, name: str) -> Mapping[str, PinnedModel]:
        """The profile's models by weight role, each with the digest that enters the key. Reads no weights."""
        if name not in self._pins:
            self._pins[name] = resolve(profile(name), self.settings.weights_dir)
        return self._pins[name]

    def know_model(self, model: PinnedModel) -> None:
        """Record which files a model is made of, once a process."""
        if model.digest not in self._known:
            self.ledger.record_model(model.digest, [
                ModelFile(sha256=model.sha256[file.key], repo=file.repo,
                          revision=file.revision or model.commits.get(file.key), path=file.path,
                          bytes=model.sizes[file.key], licence=file.licence,
                          commercial_use=file.commercial_use) for file in model.spec.files])
            self._known.add(model.digest)

    def picture(self, artifact: Artifact) -> Picture:
        """The artifact's pixels (read-only), decoded once while they stay in a small cache.

        Raises ArtifactMissing or ArtifactCorrupt; asking for its pass again then makes it anew.
        """
        with self._lock:
            if artifact.digest in self._pictures:
                self._pictures.move_to_end(artifact.digest)
                return self._pictures[artifact.digest]
        decoded = decode_png(self.store.get(artifact.digest))
        self.remember(artifact, decoded)
        return decoded

    def remember(self, artifact: Artifact, picture: Picture) -> None:
        picture.setflags(write=False)
        with self._lock:
            self._pictures[artifact.digest] = picture
            while sum(kept.nbytes for kept in self._pictures.values()) > DECODED_BYTES:
                self._pictures.popitem(last=False)

    def intact(self, artifacts: Mapping[str, Artifact]) -> bool:
        """Are all these bytes there and what their names say? What is not is declared lost, so no hit answers it."""
        broken = [artifact for artifact in artifacts.values() if not self.store.intact(artifact.digest)]
        for artifact in broken:
            self.ledger.lose(artifact.digest)
        return not broken


_current: list[Services] = []


def services() -> Services:
    """This process's services, built from the environment's settings at first use."""
    if not _current:
        _current.append(Services(settings=Settings()))
    return _current[-1]


@contextmanager
def use(other: Services) -> Generator[Services]:
    """Make `other` the process's services while the block runs."""
    _current.append(other)
    try:
        yield other
    finally:
        _current.remove(other)
