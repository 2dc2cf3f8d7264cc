"""The decoding child with bad days: the real program, except that some names make it die, hang, bloat or lie.

    python -I bad_decoder.py ROOT FLAG [SETTING=VALUE ...]      settings are photo_worker's, such as CPU_SECONDS=0.2
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

root, flag = sys.argv[1], Path(sys.argv[2])
sys.path.insert(0, root)

from models import photo_worker  # noqa: E402
from models.photos import decode_photo  # noqa: E402

for setting in sys.argv[3:]:
    name, _, value = setting.partition("=")
    setattr(photo_worker, name, value if name == "READER" else float(value))

PHOTO = {"format": "PNG", "width": 64, "height": 64, "warnings": [], "shape": [64, 64, 3]}
COST = {"cpu_seconds": 0.1}


def answer(text: bytes, body: bytes = b"", *, body_bytes: int | None = None) -> bytes:
    length = len(body) if body_bytes is None else body_bytes
    return photo_worker.FRAME.pack(photo_worker.MAGIC, len(text), length) + text + body


def photo(body: bytes = bytes(64 * 64 * 3), *, body_bytes: int | None = None, **lies: object) -> bytes:
    return answer(json.dumps({"photo": PHOTO | lies, **COST}).encode(), body, body_bytes=body_bytes)


LIES = {
    "no frame": b"\x80\x04\x95 a pickle" * 100,
    "a header without end": photo_worker.FRAME.pack(photo_worker.MAGIC, (1 << 32) - 1, 0),
    "no JSON": answer(b"{"),
    "deep JSON": answer(b"[" * 60_000),
    "a list": answer(b"[1]"),
    "nothing": answer(b"{}"),
    "a huge picture": photo(shape=[60_000, 60_000, 3], width=60_000, height=60_000, body_bytes=60_000 * 60_000 * 3),
    "no side": photo(b"", shape=[0, 0, 3], width=0, height=0),
    "a negative side": photo(b"", shape=[-64, -64, 3], width=-64, height=-64),
    "two channels": photo(bytes(64 * 64 * 2), shape=[64, 64, 2]),
    "more bytes than pixels": photo(bytes(99_999)),
    "fewer bytes than pixels": photo(bytes(99)),
    "another shape": photo(shape=[32, 128, 3]),
    "a shape of texts": photo(shape=["a", "b", "c"]),
    "an endless side": photo(shape=[float("inf"), 64, 3]),
    "an unknown format": photo(format="GIF"),
    "an unknown verdict": answer(json.dumps({
        "refused": {"code": "fine", "message": "x", "remedy": "x"}, **COST}).encode()),
    "a verdict with pixels": answer(json.dumps({
        "refused": {"code": "broken", "message": "x", "remedy": "x"}, **COST}).encode(), bytes(10)),
    "no cost": answer(json.dumps({"photo": PHOTO}).encode(), bytes(64 * 64 * 3)),
    "half the pixels": photo(bytes(64 * 64), body_bytes=64 * 64 * 3),
}
FLOOD = "a verdict without end"

honest = photo_worker._answer


def decode(data: bytes, *, name: str, managed: bool = True) -> object:
    if name == "once" and not flag.exists():
        flag.touch()
        name = "segfault"
    if name == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif name == "abort":
        os.abort()
    elif name == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif name == "exit":
        os._exit(9)
    elif name == "hang":
        time.sleep(600)
    elif name == "spin":
        while True:
            pass
    elif name == "hoard":
        bytes(2 << 30)
    elif name == "prints":
        print("a stray word")
        os.write(1, b"and another")
    return decode_photo(data, name=name, managed=managed)


def _answer(answers: int, name: str, data: bytes, managed: bool) -> None:
    if name == FLOOD:
        told = {"code": "broken", "message": "\x1b[2J" + "no end " * 5000, "remedy": "x\ny"}
        os.write(answers, answer(json.dumps({"refused": told, **COST}).encode()))
    elif name in LIES:
        os.write(answers, LIES[name])
        if name == "half the pixels":
            os._exit(0)
    else:
        honest(answers, name, data, managed)


if __name__ == "__main__":
    photo_worker.decode_photo = decode  # type: ignore[assignment]
    photo_worker._answer = _answer
    photo_worker.main()
