"""A photo gate's children end with their process, however that ends, and are not shared with one forked off it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from child_processes import gone, soon
from photo_files import saved, textured

from tasks.gate_child import DECODER

PHOTO = saved(textured())


@pytest.mark.parametrize("end", ["sys.exit(0)", "os.kill(os.getpid(), 9)", "os._exit(3)"])
def test_no_child_outlives_its_process(end: str) -> None:
    pids = run(f"print(*gate.pids, flush=True)\n{end}")
    assert len(pids) == 1
    assert soon(lambda: gone(pids[0]))


def test_a_forked_process_has_children_of_its_own_and_leaves_the_others() -> None:
    before, in_fork, after = run(
        "print(*gate.pids, flush=True)\n"
        "if (fork := os.fork()) == 0:\n"
        "    assert not gate.pids\n"
        "    gate.decode(data, name='photo')\n"
        "    print(*gate.pids, flush=True)\n"
        "    sys.exit(0)\n"
        "assert os.waitpid(fork, 0)[1] == 0\n"
        "gate.decode(data, name='photo')\n"
        "print(*gate.pids, flush=True)")
    assert before == after != in_fork
    assert soon(lambda: gone(in_fork) and gone(before))


def test_a_forked_process_does_not_keep_the_others_children_alive() -> None:
    child, fork = run(
        "if (fork := os.fork()) == 0:\n"
        "    os.close(1)\n"
        "    signal.pause()\n"
        "print(*gate.pids, fork, flush=True)\n"
        "os.kill(os.getpid(), 9)")
    try:
        assert soon(lambda: gone(child))
        assert not gone(fork)
    finally:
        os.kill(fork, signal.SIGKILL)


def test_a_process_forked_off_while_a_photo_is_decoded_can_decode_and_holds_no_pipe_of_it() -> None:
    was_busy, pipes, after = run(
        "import io, threading, time\n"
        "from PIL import Image\n"
        "out = io.BytesIO()\n"
        "Image.new('L', (8000, 6250)).save(out, 'PNG', compress_level=1)\n"
        "busy = threading.Thread(target=gate.decode, args=(out.getvalue(),), kwargs={'name': 'large'})\n"
        "busy.start()\n"
        "while gate._idle: time.sleep(0.001)\n"
        "if (fork := os.fork()) == 0:\n"
        "    signal.alarm(30)\n"
        "    gate.decode(data, name='photo')\n"
        "    gate.close()\n"
        "    opened = [os.path.realpath(f'/proc/self/fd/{fd}') for fd in os.listdir('/proc/self/fd') if int(fd) > 2]\n"
        "    print(sum('pipe:' in path for path in opened), flush=True)\n"
        "    os._exit(0)\n"
        "print(int(busy.is_alive()), flush=True)\n"
        "status = os.waitpid(fork, 0)[1]\n"
        "busy.join()\n"
        "print(status, flush=True)")
    assert (was_busy, pipes, after) == (1, 0, 0)


def run(script: str) -> list[int]:
    """The numbers a fresh process prints that has decoded one photo and then does what `script` says."""
    head = ("import os, signal, sys\nfrom tasks.gate import PhotoGate\n"
            "data, gate = bytes.fromhex(sys.argv[1]), PhotoGate(workers=1)\ngate.decode(data, name='photo')\n")
    done = subprocess.run([sys.executable, "-c", head + script, PHOTO.hex()], stdout=subprocess.PIPE, text=True,
                          timeout=60, check=False, cwd=DECODER[-1])
    return [int(word) for word in done.stdout.split()]
