"""One decoding child as its parent sees it: start, ask, doubt the answer, end. The child is models/photo_worker.py."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from fcntl import F_SETPIPE_SZ, fcntl
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

import models
from models.errors import PassError, PhotoRefused
from models.photo_worker import FRAME, MAGIC, MAX_HEADER, OUT_OF_MEMORY, frame
from models.photos import FORMATS, MAX_PIXELS, MAX_SIDE, READER, VERDICTS, DecodedPhoto

DECODER = (
    sys.executable, "-I", "-c",
    "import sys; sys.argv[1] in sys.path or sys.path.insert(0, sys.argv[1]); from models.photo_worker import main; "
    "main()", str(Path(models.__file__).resolve().parent.parent))
"""Isolated (-I): neither PYTHON* variables, nor the user's own packages, nor the current folder reach the child, and
it imports the very files that its parent runs, installed or not."""

ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1"}
"""All that a child is given: no secret can leak from what it does not have. numpy would reserve 40 MB a thread."""

START_SECONDS = 30.0
WALL_SECONDS = 10.0
"""For one photo (spec/reliability.md 6.3); its 5 s of CPU end first, unless the machine is very busy."""
_PIPE = 1 << 18
"""Bytes of a pipe, four times Linux' own: a 2 MP photo passes in 13 ms and not in 18 (2026-11-21)."""
_MOST_WARNINGS, _LONGEST_TEXT = 20, 400


class GateError(PassError):
    """The decoding child cannot be started: the installation is at fault and no photo is."""


class ChildLost(Exception):
    """The child is of no use any more. code: the verdict, should it happen twice to one photo; certain: it would."""

    def __init__(self, code: str, detail: str, *, certain: bool = False) -> None:
        super().__init__(detail)
        self.code = code
        self.certain = certain


class DecoderChild:
    """A running child. Not for two threads at a time."""

    def __init__(self, command: Sequence[str] = DECODER) -> None:
        """Start it and wait until it is ready (0.2 s). Raises GateError."""
        try:
            # A session of its own: Ctrl-C in a terminal is for the parent, which then ends its children.
            self._process = subprocess.Popen(command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                             stderr=subprocess.PIPE, env=ENVIRONMENT, cwd="/", start_new_session=True)
        except OSError as error:
            raise _no_start(str(error), None) from error
        self._requests, self._answers, self._told = cast(
            "tuple[IO[bytes], ...]", (self._process.stdin, self._process.stdout, self._process.stderr))
        os.set_blocking(self._requests.fileno(), False)
        with suppress(OSError):  # refused to a user with very many pipes, and only a matter of speed
            for pipe in (self._requests, self._answers):
                fcntl(pipe, F_SETPIPE_SZ, _PIPE)
        self.photos = 0
        try:
            self._greet()
        except BaseException:
            self.end()
            raise
        self._told.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def decode(self, data: bytes, name: str, *, managed: bool = True) -> tuple[DecodedPhoto | PhotoRefused, float]:
        """The child's answer, believed as far as it can be checked, and its seconds of CPU.

        Raises ChildLost; then it must be ended.
        """
        self.photos += 1
        deadline = time.monotonic() + WALL_SECONDS
        self._write(frame({"name": name, "managed": managed}, len(data)), deadline)
        self._write(data, deadline)
        header, body_bytes = self._header(deadline)
        try:
            cpu_seconds = float(header["cpu_seconds"])
            if "refused" in header:
                return _refusal(header["refused"], name, body_bytes), cpu_seconds
            facts = header["photo"]
            picture = np.empty(_shape(facts, body_bytes), np.uint8)
            photo = DecodedPhoto(picture=picture, warnings=tuple(map(_text, facts["warnings"][:_MOST_WARNINGS])),
                                 format=_one_of(FORMATS, facts["format"]), width=int(facts["width"]),
                                 height=int(facts["height"]))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ChildLost("decoder_crash", f"its answer makes no sense ({error!r})") from error
        self._read_into(picture.data.cast("B"), deadline)
        return photo, cpu_seconds

    def end(self) -> None:
        """Kill it, if it is not dead, and leave nothing of it."""
        self._process.kill()
        self._process.wait()
        self.forget()

    def forget(self) -> None:
        """Close this process's ends of its pipes, and leave it to itself."""
        for pipe in (self._requests, self._answers, self._told):
            pipe.close()

    def _greet(self) -> None:
        try:
            header, _ = self._header(time.monotonic() + START_SECONDS)
        except ChildLost as lost:
            self._process.kill()
            lines = self._told.read().decode(errors="replace").strip().splitlines() or [str(lost)]
            raise _no_start(_text(lines[-1]), self._process.wait()) from lost
        if header.get("ready") != READER:
            # Its files were replaced under a running parent: pixels of one reader must not get another's name.
            raise _no_start(f"it is reader {_text(header.get('ready'))}, and this process is {READER}", "changed files")

    def _header(self, deadline: float) -> tuple[dict[str, Any], int]:
        head = bytearray(FRAME.size)
        self._read_into(memoryview(head), deadline)
        magic, header_bytes, body_bytes = FRAME.unpack(head)
        if magic != MAGIC or header_bytes > MAX_HEADER:
            raise ChildLost("decoder_crash", "its answer is no frame")
        text = bytearray(header_bytes)
        self._read_into(memoryview(text), deadline)
        try:
            header = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ChildLost("decoder_crash", "its answer is no JSON") from error
        if not isinstance(header, dict):
            raise ChildLost("decoder_crash", "its answer is no object")
        return header, body_bytes

    def _write(self, data: bytes, deadline: float) -> None:
        rest = memoryview(data)
        while rest:
            self._wait(self._requests, select.POLLOUT, deadline)
            try:
                rest = rest[os.write(self._requests.fileno(), rest[:_PIPE]):]
            except BlockingIOError:
                continue  # room for less than a page
            except BrokenPipeError as error:
                raise self._lost() from error

    def _read_into(self, room: memoryview, deadline: float) -> None:
        while room:
            self._wait(self._answers, select.POLLIN, deadline)
            got = os.readv(self._answers.fileno(), [room])
            if not got:
                raise self._lost()
            room = room[got:]

    def _wait(self, pipe: IO[bytes], event: int, deadline: float) -> None:
        poll = select.poll()
        poll.register(pipe, event)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise ChildLost("too_slow", "it did not answer in time")

    def _lost(self) -> ChildLost:
        """Why it closed its pipes."""
        try:
            status = self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            return ChildLost("decoder_crash", "it closed its pipes and runs on")
        if status == OUT_OF_MEMORY:
            return ChildLost("too_much_memory", "it ran out of memory")
        if status in (-signal.SIGPROF, -signal.SIGXCPU):
            return ChildLost("too_slow", "it used up its time", certain=True)
        return ChildLost("decoder_crash", f"it ended by signal {-status}" if status < 0 else f"it ended with {status}")


def _shape(facts: dict[str, Any], body_bytes: int) -> tuple[int, int, int]:
    """The picture's shape, where it fits its stored sides, the limits and the pixels that follow."""
    height, width, channels = (int(side) for side in facts["shape"])
    if sorted((height, width)) != sorted((facts["height"], facts["width"])) or channels not in (3, 4):
        raise ValueError("shape")
    if min(height, width) < 1 or max(height, width) > MAX_SIDE or height * width > MAX_PIXELS:
        raise ValueError("size")
    if height * width * channels != body_bytes:
        raise ValueError("length")
    return height, width, channels


def _refusal(facts: dict[str, Any], name: str, body_bytes: int) -> PhotoRefused:
    if body_bytes:
        raise ValueError("length")
    return PhotoRefused(_one_of(VERDICTS, facts["code"]), _text(facts["message"]), name=name,
                        remedy=_text(facts["remedy"]))


def _one_of(known: dict[str, Any], word: object) -> str:
    if not isinstance(word, str) or word not in known:
        raise ValueError("unknown word")
    return word


def _text(word: object) -> str:
    """A child's words as they may be shown."""
    return ascii(word)[1:-1][:_LONGEST_TEXT] if not isinstance(word, str) or not word.isprintable() else (
        word[:_LONGEST_TEXT])


def _no_start(why: str, value: object) -> GateError:
    return GateError(f"the process that decodes photos did not start ({why})", field="photo gate", value=value,
                     remedy="Check that this Python can import Pillow and numpy, and has memory and processes to spare")
