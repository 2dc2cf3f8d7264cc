"""A program that decodes photos, one after another, in a process of its own: whatever a file does, it does it here.

It imports Pillow and numpy, neither torch nor OpenCV, and shuts itself in before it reads the first byte of a photo:
1 GiB of memory, no new files, no new processes, few open ones, and 5 s of CPU for each photo. tasks/gate.py starts it,
with nothing of the environment, and ends it; it ends itself when its parent is gone, or after five idle minutes.

Both ends speak in frames: FRAME, a JSON header, a body. A request is {"name", "managed"} and a file; an answer is
{"photo"} with the pixels as they lie in memory, or {"refused"}. No pickle: the parent must be able to doubt every word
of a child that a photo has taken over.
"""

from __future__ import annotations

import io
import json
import os
import resource
import select
import signal
import struct
import time
from collections.abc import Mapping
from typing import Any, BinaryIO

from PIL import Image

from models.errors import PhotoRefused
from models.photos import FORMATS, READER, DecodedPhoto, decode_photo

FRAME = struct.Struct(">4sIQ")
"""MAGIC, bytes of the JSON header, bytes of the body."""
MAGIC = b"bl01"
MAX_HEADER = 65_536

MEMORY = 1 << 30
"""Bytes of address space in all, spec/reliability.md 4, G20. Idle it takes 115 MB (40 MB resident). The largest legal
photos (50 MP, Pillow 13.0.0, 2026-11-21): WebP with alpha 920 MB, and 1,010 MB where its file has 45 MB (of 1,074);
progressive CMYK JPEG 710 MB; others under 670 MB, with 40 MB of file."""
CPU_SECONDS = 5.0
"""For each photo. Most of 50 MP take 1 to 2 s on one core of a server of 2026. The slowest legal ones, progressive CMYK
with a profile, took 3 to 4.4 s (5 to 43 MB): beside much other work, or on a slower machine, these few are too_slow."""
IDLE_SECONDS = 300
OPEN_FILES = 16
OUT_OF_MEMORY = 3
"""Exit status."""


def main() -> None:
    requests, answers = _own_pipes()
    _warm_up()
    _shut_in()
    _send(answers, {"ready": READER})
    try:
        while select.select([requests], [], [], IDLE_SECONDS)[0] and (request := _receive(requests)):
            _answer(answers, *request)
    except MemoryError:
        os._exit(OUT_OF_MEMORY)  # at once: tidying up would need memory too
    except BrokenPipeError:
        os._exit(0)  # the parent is gone, or has lost patience


def _answer(answers: int, name: str, data: bytes, managed: bool) -> None:
    """Decode one photo under its own CPU clock; when that runs out SIGPROF ends this process."""
    # Not RLIMIT_CPU: that counts whole seconds of the process's life, and a photo would get 4 to 6.
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    start = time.process_time()
    try:
        photo: DecodedPhoto | PhotoRefused = decode_photo(data, name=name, managed=managed)
    except PhotoRefused as refusal:
        photo = refusal
    signal.setitimer(signal.ITIMER_PROF, 0.0)
    cost = {"cpu_seconds": time.process_time() - start}
    if isinstance(photo, PhotoRefused):
        refused = {"code": photo.code, "message": photo.message, "remedy": photo.remedy}
        _send(answers, {"refused": refused, **cost})
    else:
        facts = {"format": photo.format, "width": photo.width, "height": photo.height, "warnings": photo.warnings,
                 "shape": photo.picture.shape}
        _send(answers, {"photo": facts, **cost}, photo.picture.data.cast("B"))


def _own_pipes() -> tuple[BinaryIO, int]:
    """Requests to read and answers to write; whatever prints to standard output from now on prints to nowhere."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    return requests, answers


def _warm_up() -> None:
    """Read one picture of each format: what is imported late is imported now, and a Pillow that lacks one is found."""
    for kind in FORMATS:
        out = io.BytesIO()
        Image.new("RGB", (64, 64)).save(out, kind)
        decode_photo(out.getvalue(), name=kind)


def _shut_in() -> None:
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # a parent that ignores or blocks it leaves that to its children
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for limit, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0),
                        (resource.RLIMIT_NPROC, 0), (resource.RLIMIT_NOFILE, OPEN_FILES)):
        _, hard = resource.getrlimit(limit)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (most, most))
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 2)  # until here the parent shows it where the start fails; a pipe nobody reads would block
    os.close(nowhere)


def _receive(requests: BinaryIO) -> tuple[str, bytes, bool] | None:
    """The next request's name, file and `managed`; None at the end. What is cut off means that the parent is gone: the
    end too."""
    head = requests.read(FRAME.size)
    if len(head) < FRAME.size:
        return None
    _, header_bytes, body_bytes = FRAME.unpack(head)
    header, data = requests.read(header_bytes), requests.read(body_bytes)
    if len(data) < body_bytes:
        return None
    asked = json.loads(header)  # by default as asked before there was a choice: a parent may be older than its files
    return str(asked["name"]), data, bool(asked.get("managed", True))


def _send(answers: int, header: Mapping[str, Any], body: bytes | memoryview = b"") -> None:
    for part in (memoryview(frame(header, len(body))), memoryview(body)):
        while part:
            part = part[os.write(answers, part):]


def frame(header: Mapping[str, Any], body_bytes: int) -> bytes:
    """All of a frame before its body."""
    text = json.dumps(header).encode()
    return FRAME.pack(MAGIC, len(text), body_bytes) + text
