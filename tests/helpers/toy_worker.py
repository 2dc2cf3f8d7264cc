"""Workers that a test may kill: a warm process that forks one for each case.

Run as a script it imports everything once (more than a second), starts no thread, and forks a child for each line of
JSON on its standard input; so a case costs milliseconds. `Workers` is the tests' end of it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Ended:
    """How a worker ended: its exit status (negative: the signal that killed it)."""

    status: int

    @property
    def killed(self) -> bool:
        return self.status == -signal.SIGKILL


class Workers:
    """Starts workers one by one. A case: see `_run`. modules: what they need beside a local disk's."""

    def __init__(self, *modules: str) -> None:
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{Path(__file__).parent}"}
        self._server = subprocess.Popen([sys.executable, __file__, *modules], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT)
        self.facts = json.loads(self._line())

    def start(self, **case: Any) -> int:
        """Fork a worker; its process id."""
        return int(self._ask(start={**case, "folder": str(case["folder"])})["pid"])

    def wait(self, pid: int) -> Ended:
        return Ended(status=self._ask(wait=pid)["status"])

    def run(self, **case: Any) -> Ended:
        return self.wait(self.start(**case))

    def close(self) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(timeout=10)

    def _ask(self, **command: Any) -> Any:
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(command) + "\n")
        self._server.stdin.flush()
        return json.loads(self._line())

    def _line(self) -> str:
        assert self._server.stdout is not None
        line = self._server.stdout.readline()
        if not line:
            raise RuntimeError("the process that forks the workers ended; its last words are above")
        return line


def _serve() -> None:
    import threading
    from importlib import import_module

    for module in sys.argv[1:]:
        import_module(module)
    _warm_up()
    if threading.active_count() != 1:
        raise RuntimeError(f"a fork would lose these threads: {threading.enumerate()}")
    print(json.dumps({"torch": "torch" in sys.modules, "pid": os.getpid()}), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        if "start" in command:
            answer = {"pid": _fork(command["start"])}
        else:
            _, status = os.waitpid(command["wait"], 0)
            answer = {"status": os.waitstatus_to_exitcode(status)}
        print(json.dumps(answer), flush=True)


def _warm_up() -> None:
    """Run a job here, so that all that is imported or remembered at first use is there before the first fork."""
    import tempfile

    import numpy as np
    from PIL import Image

    with tempfile.TemporaryDirectory() as folder:
        photo = f"{folder}/photo.png"
        Image.fromarray(np.zeros((64, 64, 3), dtype=np.uint8)).save(photo)
        _run({"folder": folder, "jobs": [{"job_id": "warm", "image": photo}]})


def _fork(case: Mapping[str, Any]) -> int:
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # standard output belongs to the protocol
        status = _run(case)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _run(case: Mapping[str, Any]) -> int:
    """One worker's life. folder: where history and points are written; settings: of its Services; jobs: documents.

    die_at: [point, nth]: kill -9 there; stop_at: SIGSTOP there. time_passed: first let the leases of those who died
    run out. damage: before the last job, flip a byte of the picture that the jobs share. broken: a fault of this name
    (toy_faults) put in. skip_completed: leave out jobs that are done. repair: no jobs,
    but `backlot verify --repair`. may_fail: an error is told in the history.
    """
    import toy_faults
    from toy_job import History, ToyDocument, between_jobs, run_toy

    from storage import faults
    from storage.settings import Settings
    from tasks.services import Services, use

    folder = Path(case["folder"])
    History.path = folder / "history.jsonl"
    seen: Counter[str] = Counter()

    def arrive(name: str) -> None:
        seen[name] += 1
        History.write(point=name, nth=seen[name])
        if [name, seen[name]] == case.get("die_at"):
            os.kill(os.getpid(), signal.SIGKILL)
        if [name, seen[name]] == case.get("stop_at"):
            os.kill(os.getpid(), signal.SIGSTOP)

    settings = Settings(home=folder, input_roots=(Path("/"),), **case.get("settings", {}))
    with use(Services(settings=settings)) as mine:
        if case.get("time_passed"):
            toy_faults.let_leases_run_out(mine)
        if case.get("broken"):
            getattr(toy_faults, case["broken"])()
        documents = [ToyDocument(**job) for job in case["jobs"]]
        if case.get("skip_completed"):
            documents = [one for one in documents if not toy_faults.completed(mine, one.job_id)]
        faults.install(arrive)
        if case.get("repair"):
            return toy_faults.repair(mine)
        try:
            for number, document in enumerate(documents, 1):
                if case.get("damage") and number == len(documents):
                    between_jobs.append(lambda: toy_faults.damage_what_is_shared(mine))
                run_toy(document)
        except Exception as error:
            from tasks.classify import classify

            History.write(failed=type(error).__name__, code=classify(error).code, kind=classify(error).kind)
            if not case.get("may_fail"):
                raise
            return 3
    return 4 if "torch" in sys.modules else 0


if __name__ == "__main__":
    _serve()
