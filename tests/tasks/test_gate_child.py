"""A decoding child has no secrets, no heavy imports and no way out of its limits, and is not believed blindly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from threading import Timer

import pytest
from bad_decoder_command import bad_decoder
from photo_files import saved, textured

from models.errors import PhotoRefused
from models.photo_worker import CPU_SECONDS, MEMORY, OPEN_FILES, frame
from models.photos import READER
from tasks import gate_child
from tasks.gate_child import DECODER, WALL_SECONDS, ChildLost, DecoderChild, GateError

PHOTO = saved(textured())
LIES = ("no frame", "a header without end", "no JSON", "deep JSON", "a list", "nothing", "a huge picture", "no side",
        "a negative side", "two channels", "more bytes than pixels", "fewer bytes than pixels", "another shape",
        "a shape of texts", "an endless side", "an unknown format", "an unknown verdict", "a verdict with pixels",
        "no cost", "half the pixels")


def program(code: str) -> tuple[str, ...]:
    """A child that does this with the decoder's module."""
    return (sys.executable, "-I", "-c", "import sys; sys.path.insert(0, sys.argv[1]); from models import photo_worker\n"
            f"{code}", DECODER[-1])


@pytest.fixture
def child() -> Generator[DecoderChild]:
    started = DecoderChild()
    yield started
    started.end()


def process(child: DecoderChild, file: str) -> str:
    return (Path("/proc") / str(child.pid) / file).read_text(errors="replace")


def test_a_child_is_given_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BACKLOT_DATABASE_URL", "AWS_SECRET_ACCESS_KEY", "PREFECT_API_KEY", "PYTHONSTARTUP"):
        monkeypatch.setenv(name, "canary")
    child = DecoderChild()
    try:
        assert process(child, "environ").split("\0") == ["OPENBLAS_NUM_THREADS=1", ""]
        assert "canary" not in process(child, "cmdline")
    finally:
        child.end()


def test_a_child_has_loaded_neither_torch_nor_opencv(child: DecoderChild) -> None:
    child.decode(PHOTO, "photo")
    libraries = {Path(line.split()[-1]).name for line in process(child, "maps").splitlines() if "/" in line}
    assert any(name.startswith("_imaging") for name in libraries)
    assert not [name for name in libraries if "torch" in name or "cv2" in name or "sqlite" in name or "ssl" in name]


def test_what_a_child_imports_can_start_no_program_and_read_no_other_format() -> None:
    code = ("import json, sys; sys.path.insert(0, sys.argv[1]); from models import photo_worker\n"
            "photo_worker._warm_up()\n"
            "print(json.dumps(sorted(sys.modules)))")
    done = subprocess.run([sys.executable, "-I", "-c", code, DECODER[-1]], capture_output=True, text=True, check=True)
    loaded = json.loads(done.stdout)
    assert {"PIL.JpegImagePlugin", "PIL.PngImagePlugin", "PIL.WebPImagePlugin", "numpy"} <= set(loaded)
    unwanted = ("torch", "cv2", "pydantic", "prefect", "PIL.PSDraw")
    assert [name for name in loaded if name.partition(".")[0] in unwanted] == []


def test_a_child_is_limited_in_all_it_could_grow(child: DecoderChild) -> None:
    limits = {line[:26].strip(): line[26:].split()[:2] for line in process(child, "limits").splitlines()[1:]}
    assert limits["Max address space"] == [str(MEMORY)] * 2
    assert (MEMORY, CPU_SECONDS, WALL_SECONDS) == (1024 ** 3, 5, 10)
    assert limits["Max core file size"] == limits["Max file size"] == limits["Max processes"] == ["0", "0"]
    assert limits["Max open files"] == [str(OPEN_FILES)] * 2


def test_a_child_starts_small(child: DecoderChild) -> None:
    resident = next(int(line.split()[1]) for line in process(child, "status").splitlines() if line.startswith("VmHWM"))
    assert resident < 80_000, "kB"


def test_a_child_is_alone_in_its_session_and_holds_its_three_pipes_only(child: DecoderChild) -> None:
    opened = sorted(str(link.readlink()) for link in (Path("/proc") / str(child.pid) / "fd").iterdir())
    assert [name.partition(":")[0] for name in opened] == ["/dev/null"] * 3 + ["pipe"] * 2
    assert process(child, "stat").rpartition(")")[2].split()[3] == str(child.pid)
    assert (Path("/proc") / str(child.pid) / "cwd").readlink() == Path("/")


def test_a_child_costs_its_parent_two_open_files_while_it_runs_and_none_after() -> None:
    before = opened_here()
    for end in (signal.SIGKILL, None):
        child = DecoderChild()
        assert opened_here() == before + 2
        if end:
            os.kill(child.pid, end)
        child.end()
        assert opened_here() == before
        assert not (Path("/proc") / str(child.pid)).exists(), "nobody has collected it"


def opened_here() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_no_signal_that_ends_a_child_is_ignored_or_blocked_by_inheritance() -> None:
    before, blocked = signal.signal(signal.SIGPROF, signal.SIG_IGN), signal.pthread_sigmask(
        signal.SIG_BLOCK, [signal.SIGPROF])
    try:
        child = DecoderChild()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.signal(signal.SIGPROF, before)
    masks = dict(line.split(":\t") for line in process(child, "status").splitlines() if line.startswith("Sig"))
    child.end()
    assert int(masks["SigBlk"], 16) == 0
    assert not int(masks["SigIgn"], 16) >> (signal.SIGPROF - 1) & 1


def test_a_child_that_died_unseen_is_lost_and_no_error_of_the_parents(child: DecoderChild) -> None:
    os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(ChildLost, match="it ended by signal 9"):
        child.decode(bytes(1_000_000), "photo")


def test_a_request_that_its_parent_never_finished_is_not_answered_and_ends_the_child(child: DecoderChild) -> None:
    child._write(frame({"name": "photo"}, 1000) + bytes(999), time.monotonic() + 5)
    child._requests.close()
    assert child._answers.read() == b""
    assert child._process.wait(5) == 0


def test_a_child_that_never_reads_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is larger than their pipe; a parent that waited for room in it would wait with the child."""
    monkeypatch.setattr(gate_child, "WALL_SECONDS", 0.3)
    child = DecoderChild(program(
        "import time; photo_worker._send(1, {'ready': photo_worker.READER}); time.sleep(600)"))
    rescue = Timer(8, os.kill, (child.pid, signal.SIGKILL))
    rescue.start()
    try:
        with pytest.raises(ChildLost) as caught:
            child.decode(bytes(1_000_000), "photo")
        assert caught.value.code == "too_slow"
    finally:
        rescue.cancel()
        child.end()


@pytest.mark.parametrize("lie", LIES)
def test_an_answer_that_makes_no_sense_is_a_lost_child(lie: str, tmp_path: Path) -> None:
    child = DecoderChild(bad_decoder(tmp_path))
    try:
        with pytest.raises(ChildLost) as caught:
            child.decode(PHOTO, lie)
        assert caught.value.code == "decoder_crash"
    finally:
        child.end()


def test_a_childs_words_are_cut_short_and_made_printable(tmp_path: Path) -> None:
    child = DecoderChild(bad_decoder(tmp_path))
    try:
        answer, _ = child.decode(PHOTO, "a verdict without end")
    finally:
        child.end()
    assert isinstance(answer, PhotoRefused)
    assert answer.code == "broken"
    assert str(answer).isprintable()
    assert len(str(answer)) < 600


@pytest.mark.parametrize(("command", "told"), [
    (("no-such-program",), "No such file"),
    (program("sys.modules['PIL._webp'] = None; photo_worker.main()"), "WEBP"),
    ((sys.executable, "-I", "-c", "import no_such_library"), "No module named 'no_such_library'"),
    ((sys.executable, "-I", "-c", "raise SystemExit(7)"), "it ended with 7"),
    ((sys.executable, "-I", "-c", "print('hello, I am no decoder')"), "its answer is no frame")])
def test_a_child_that_cannot_start_is_the_installations_fault(command: tuple[str, ...], told: str) -> None:
    with pytest.raises(GateError, match=told) as caught:
        DecoderChild(command)
    assert "photo gate" in str(caught.value)
    assert "Check that this Python can import Pillow" in str(caught.value)


def test_a_child_that_cannot_be_limited_takes_no_photo_and_says_why() -> None:
    with pytest.raises(GateError, match="ValueError: no such limit") as caught:
        DecoderChild(program("def setrlimit(*_): raise ValueError('no such limit' + '!' * 9000)\n"
                             "photo_worker.resource.setrlimit = setrlimit; photo_worker.main()"))
    assert len(str(caught.value)) < 700


def test_a_child_of_changed_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GateError, match=f"it is reader photos-0, and this process is {READER}"):
        DecoderChild(bad_decoder(tmp_path, "READER=photos-0"))


def test_a_child_works_from_any_folder_and_whatever_pythonpath_says(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('shadowed')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    child = DecoderChild()
    try:
        answer, cpu_seconds = child.decode(PHOTO, "photo")
    finally:
        child.end()
    assert not isinstance(answer, PhotoRefused)
    assert 0 <= cpu_seconds < 1
    assert DECODER[1] == "-I", "else it would read the user's own packages"
