"""The photo gate: strangers' files are decoded in child processes, and each ends in a picture or one typed verdict.

A file that kills, hangs or bloats its decoder costs a child, not a worker. The limits are the child's own
(models/photo_worker.py) and the wall clock of its parent (tasks/gate_child.py).
"""

from __future__ import annotations

import hashlib
import logging
import os
import weakref
from collections.abc import Sequence
from threading import BoundedSemaphore, Lock
from types import TracebackType

from models.errors import PhotoRefused
from models.photos import DecodedPhoto, check_bytes
from tasks.gate_child import DECODER, ChildLost, DecoderChild

PHOTOS_PER_CHILD = 200
"""Then a fresh one: whatever a decoder leaks or a photo leaves behind ends with its child. A start takes 0.2 s."""
LONGEST_LOG = 200

_REMEDIES = {"decoder_crash": "Save it again as JPEG, PNG or WebP", "too_slow": "Scale it down, or save it as a plain "
             "JPEG", "too_much_memory": "Scale it down, or save it as a plain JPEG"}

log = logging.getLogger(__name__)


class PhotoGate:
    """At most `workers` children, started at need and kept for the next photo. For many threads; once a process.

    A process forked off starts its own children. Closing, collecting or leaving the process ends them; so does its
    death by any signal, since they end when their pipe does.
    """

    def __init__(self, workers: int = 2, *, command: Sequence[str] = DECODER) -> None:
        """workers: at least 1. command: the program that decodes; tests give it bad ones."""
        if workers < 1:
            raise ValueError(f"workers={workers}: a photo gate needs at least 1")
        self._workers, self._command = workers, tuple(command)
        self._children: set[DecoderChild] = set()
        self._closed = False
        self._renew()
        weakref.finalize(self, _end_all, self._children)
        _gates.add(self)

    def _renew(self) -> None:
        self._idle: list[DecoderChild] = []
        self._lock = Lock()
        self._turns = BoundedSemaphore(self._workers)

    @property
    def pids(self) -> frozenset[int]:
        """The running children."""
        return frozenset(child.pid for child in tuple(self._children) if child.alive)

    def decode(self, data: bytes, *, name: str, managed: bool = True) -> DecodedPhoto:
        """As models.photos.decode_photo, in a child; the calling thread waits, for a free one too.

        Raises PhotoRefused: after a child's death once more in a fresh child, unless the photo was certainly at fault,
        then decoder_crash, too_slow or too_much_memory. Raises GateError where no child can be started.
        """
        try:
            check_bytes(data, name)
            with self._turns:
                return self._decode(data, name, managed)
        except PhotoRefused as refusal:
            digest = hashlib.sha256(data).hexdigest()[:16]
            told = f"photo refused: {refusal.code}, {len(data)} bytes, sha256 {digest}, {name}: {refusal.message}"
            log.warning("%s", ascii(told)[1:-1][:LONGEST_LOG])
            raise

    def close(self) -> None:
        """End the idle children; busy ones finish their photo. Afterwards `decode` raises RuntimeError."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for child in idle:
            self._end(child)

    def __enter__(self) -> PhotoGate:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
                 ) -> None:
        self.close()

    def _decode(self, data: bytes, name: str, managed: bool) -> DecodedPhoto:
        try:
            return self._ask(self._take(), data, name, managed)
        except ChildLost as lost:
            if lost.certain:
                raise _refused(lost, f"decoding it was given up ({lost})", name) from lost
            # Perhaps it was not this photo: memory that others took, a kill from outside, what the last photo left.
            log.info("photo gate: a child was lost (%s); once more in a fresh one", lost)
        try:
            return self._ask(self._start(), data, name, managed)
        except ChildLost as lost:
            raise _refused(lost, f"its decoder was lost twice ({lost})", name) from lost

    def _ask(self, child: DecoderChild, data: bytes, name: str, managed: bool) -> DecodedPhoto:
        try:
            answer, cpu_seconds = child.decode(data, name, managed=managed)
        except BaseException:  # Ctrl-C too: what is left of the answer must not meet the next question
            self._end(child)
            raise
        log.debug("photo gate: %r took %.3f s of CPU", name, cpu_seconds)
        self._give_back(child)
        if isinstance(answer, PhotoRefused):
            raise answer
        return answer

    def _take(self) -> DecoderChild:
        """An idle child, the last used first, or a new one."""
        while True:
            with self._lock:
                if not self._idle:
                    break
                child = self._idle.pop()
            if child.alive:  # it may have ended itself, idle for long
                return child
            self._end(child)
        return self._start()

    def _start(self) -> DecoderChild:
        if self._closed:
            raise RuntimeError("this photo gate is closed")
        child = DecoderChild(self._command)
        self._children.add(child)
        return child

    def _give_back(self, child: DecoderChild) -> None:
        with self._lock:
            if keep := not self._closed and child.photos < PHOTOS_PER_CHILD:
                self._idle.append(child)
        if not keep:
            self._end(child)

    def _end(self, child: DecoderChild) -> None:
        child.end()
        self._children.discard(child)

    def _forget_after_fork(self) -> None:
        """In a forked process: the children are the other's. Holding their pipes open would outlive it."""
        for child in self._children:
            child.forget()
        self._children.clear()
        self._renew()


def _end_all(children: set[DecoderChild]) -> None:
    for child in list(children):
        child.end()


def _forget_all() -> None:
    for gate in list(_gates):
        gate._forget_after_fork()


_gates: weakref.WeakSet[PhotoGate] = weakref.WeakSet()
os.register_at_fork(after_in_child=_forget_all)


def _refused(lost: ChildLost, message: str, name: str) -> PhotoRefused:
    return PhotoRefused(lost.code, message, name=name, remedy=_REMEDIES[lost.code])
