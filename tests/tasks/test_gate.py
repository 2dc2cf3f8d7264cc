"""The photo gate answers as the decoder does, outlives every child, and leaves none behind."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from bad_decoder_command import bad_decoder
from child_processes import gone, soon
from colour_profiles import grey_profile
from hostile_bombs import scan_bomb
from hostile_photos import kinds
from photo_files import saved, textured

from models.errors import PhotoRefused
from models.photos import decode_photo
from tasks import gate, gate_child
from tasks.classify import classify
from tasks.gate import PhotoGate

PHOTO = saved(textured())


@pytest.fixture(scope="module")
def honest() -> Generator[PhotoGate]:
    with PhotoGate(workers=1) as opened:
        yield opened


@pytest.fixture
def bad(tmp_path: Path) -> Generator[PhotoGate]:
    """A gate whose photos' names make its children misbehave; their CPU clock runs out after 0.3 s."""
    with PhotoGate(workers=1, command=bad_decoder(tmp_path, "CPU_SECONDS=0.3")) as opened:
        yield opened


def refused(opened: PhotoGate, name: str, data: bytes = PHOTO) -> PhotoRefused:
    with pytest.raises(PhotoRefused) as caught:
        opened.decode(data, name=name)
    assert (caught.value.field, caught.value.value) == ("image", name)
    return caught.value


def test_a_profile_counts_for_a_photo_and_not_for_what_is_not_managed(honest: PhotoGate) -> None:
    grey = np.full((64, 64), 129, np.uint8)
    data = saved(grey, icc_profile=grey_profile(1.8))
    assert honest.decode(data, name="mask.png", managed=False).picture[0, 0].tolist() == [129] * 3
    assert honest.decode(data, name="photo.png").picture[0, 0].tolist() == [147] * 3


@pytest.mark.parametrize("kind", kinds())
def test_a_photo_comes_out_as_it_does_without_the_gate(honest: PhotoGate, kind: str) -> None:
    through, direct = honest.decode(kinds()[kind], name="a.png"), decode_photo(kinds()[kind], name="a.png")
    assert np.array_equal(through.picture, direct.picture)
    assert through.picture.dtype == np.uint8
    assert through.picture.flags.writeable
    assert (through.warnings, through.format, through.width, through.height) == (
        direct.warnings, direct.format, direct.width, direct.height)


@pytest.mark.parametrize("data", [b"", b"%PDF-1.7\n", PHOTO[:200], saved(textured(20, 20)), bytes(50_000_001)])
def test_a_refusal_comes_out_as_it_does_without_the_gate(honest: PhotoGate, data: bytes) -> None:
    with pytest.raises(PhotoRefused) as direct:
        decode_photo(data, name="x\n'.png")
    through = refused(honest, "x\n'.png", data)
    assert (str(through), through.code, through.remedy) == (
        str(direct.value), direct.value.code, direct.value.remedy)


@pytest.mark.parametrize("data", [b"", bytes(50_000_001)])
def test_what_needs_no_decoder_to_be_refused_starts_none(data: bytes) -> None:
    with PhotoGate(workers=1, command=("no-such-program",)) as opened:
        refused(opened, "photo", data)


@pytest.mark.parametrize(("name", "code", "told"), [
    ("segfault", "decoder_crash", "signal 11"), ("abort", "decoder_crash", "signal 6"),
    ("killed", "decoder_crash", "signal 9"), ("exit", "decoder_crash", "ended with 9"),
    ("no frame", "decoder_crash", "no frame"), ("spin", "too_slow", "used up its time"),
    ("hoard", "too_much_memory", "ran out of memory")])
def test_a_child_lost_twice_is_a_verdict_and_the_next_photo_works(
        bad: PhotoGate, name: str, code: str, told: str) -> None:
    refusal = refused(bad, name)
    assert refusal.code == code
    assert told in str(refusal)
    assert classify(refusal).kind == "permanent"
    assert bad.decode(PHOTO, name="fine").picture.shape == (80, 112, 3)
    assert len(bad.pids) == len(bad._children) == 1


def test_a_photo_that_used_up_its_time_is_not_given_as_much_again(
        bad: PhotoGate, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    start = bad._start
    monkeypatch.setattr(bad, "_start", lambda: started.append(1) or start())
    for name, children in (("spin", 1), ("segfault", 2)):
        started.clear()
        refused(bad, name)
        assert len(started) == children


def test_a_child_that_hangs_is_killed_and_the_next_photo_works(
        bad: PhotoGate, monkeypatch: pytest.MonkeyPatch) -> None:
    bad.decode(PHOTO, name="fine")
    [before] = bad.pids
    monkeypatch.setattr(gate_child, "WALL_SECONDS", 0.4)
    start = time.monotonic()
    assert refused(bad, "hang").code == "too_slow"
    assert time.monotonic() - start < 15
    assert gone(before)
    assert bad.pids == frozenset()
    monkeypatch.undo()
    assert bad.decode(PHOTO, name="fine").picture.shape == (80, 112, 3)


def test_a_small_file_that_decodes_for_a_minute_is_too_slow(bad: PhotoGate) -> None:
    """321 kB, legal by its header: each of its 4,000 scans walks over 30 megapixels."""
    data = scan_bomb()
    assert len(data) < 400_000
    assert refused(bad, "scans.jpg", data).code == "too_slow"


def test_a_photo_whose_child_dies_once_is_decoded_in_a_fresh_one(bad: PhotoGate) -> None:
    bad.decode(PHOTO, name="fine")
    before = bad.pids
    assert np.array_equal(bad.decode(PHOTO, name="once").picture, textured())
    assert bad.pids.isdisjoint(before)


def test_the_second_try_is_in_no_child_that_an_earlier_photo_may_have_spoilt(tmp_path: Path) -> None:
    with PhotoGate(workers=2, command=bad_decoder(tmp_path)) as opened:
        for started in (opened._start(), opened._start()):
            opened._give_back(started)
        before = opened.pids
        opened.decode(PHOTO, name="once")
        assert (len(opened.pids), len(opened.pids - before)) == (2, 1)


def test_what_a_decoder_prints_is_not_taken_for_its_answer(bad: PhotoGate) -> None:
    assert np.array_equal(bad.decode(PHOTO, name="prints").picture, textured())
    assert np.array_equal(bad.decode(PHOTO, name="fine").picture, textured())


def test_children_start_at_need_serve_many_photos_and_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "PHOTOS_PER_CHILD", 3)
    with PhotoGate(workers=2) as opened:
        assert opened.pids == frozenset()
        served = []
        for _ in range(5):
            opened.decode(PHOTO, name="photo")
            served.append(opened.pids)
    first, second, third, fourth, _ = served
    assert first == second != third == frozenset()
    assert len(fourth) == 1
    assert fourth != first


def test_a_child_killed_between_two_photos_is_replaced_unseen(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tasks.gate")
    with PhotoGate(workers=1) as opened:
        opened.decode(PHOTO, name="photo")
        [pid] = opened.pids
        os.kill(pid, signal.SIGKILL)
        assert soon(lambda: gone(pid))
        assert opened.decode(PHOTO, name="photo").picture.shape == (80, 112, 3)
        assert opened.pids != {pid}
    assert "lost" not in caplog.text


def test_an_idle_child_ends_itself(tmp_path: Path) -> None:
    with PhotoGate(workers=1, command=bad_decoder(tmp_path, "IDLE_SECONDS=0.1")) as opened:
        opened.decode(PHOTO, name="photo")
        [pid] = opened.pids
        assert soon(lambda: gone(pid))
        assert opened.pids == frozenset()
        assert opened.decode(PHOTO, name="photo").picture.shape == (80, 112, 3)


def test_many_threads_share_few_children() -> None:
    most: list[int] = []
    pictures = [np.full((64, 64, 3), level, np.uint8) for level in range(40)]
    with PhotoGate(workers=2) as opened, ThreadPoolExecutor(8) as threads:

        def decode(picture: np.ndarray) -> int:
            photo = opened.decode(saved(picture), name="photo")
            most.append(len(opened.pids))
            return int(photo.picture[0, 0, 0])

        assert list(threads.map(decode, pictures)) == list(range(40))
    assert max(most) <= 2


def test_a_closed_gate_has_no_children_and_takes_no_photo() -> None:
    opened = PhotoGate(workers=1)
    opened.decode(PHOTO, name="photo")
    [pid] = opened.pids
    opened.close()
    opened.close()
    assert gone(pid)
    with pytest.raises(RuntimeError, match="this photo gate is closed"):
        opened.decode(PHOTO, name="photo")


def test_a_gate_closed_while_a_photo_is_decoded_finishes_it() -> None:
    opened = PhotoGate(workers=1)
    opened.decode(PHOTO, name="photo")
    [pid] = opened.pids
    large = saved(np.zeros((4000, 5000, 3), np.uint8))
    with ThreadPoolExecutor(1) as thread:
        photo = thread.submit(opened.decode, large, name="large")
        soon(lambda: not opened._idle)
        opened.close()
        assert photo.result().picture.shape == (4000, 5000, 3)
    assert gone(pid)


def test_an_interrupted_photo_leaves_nothing_to_the_next(bad: PhotoGate) -> None:
    bad.decode(PHOTO, name="fine")
    [pid] = bad.pids
    threading.Timer(0.3, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)).start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        bad.decode(PHOTO, name="hang")
    assert time.monotonic() - start < 9
    assert gone(pid)
    assert np.array_equal(bad.decode(PHOTO, name="fine").picture, textured())


def test_a_gate_nobody_holds_ends_its_children() -> None:
    opened = PhotoGate(workers=1)
    opened.decode(PHOTO, name="photo")
    [pid] = opened.pids
    del opened
    assert soon(lambda: gone(pid), 2)


@pytest.mark.parametrize("workers", [0, -1])
def test_a_gate_without_workers_is_refused(workers: int) -> None:
    with pytest.raises(ValueError, match=f"workers={workers}: a photo gate needs at least 1"):
        PhotoGate(workers=workers)


def test_every_refusal_is_logged_in_one_short_printable_line(
        honest: PhotoGate, caplog: pytest.LogCaptureFixture) -> None:
    refused(honest, "s3://shop/\x1b[2Jé\r\nINFO all is well/" + "x" * 500, b"<html>")
    [line] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert line.startswith("photo refused: unsupported_format, 6 bytes, sha256 4ca9c8a4a9b8a8b1"[:44])
    assert line.isascii()
    assert line.isprintable()
    assert len(line) <= 200
    assert "\\x1b[2J\\xe9\\r\\nINFO" in line
