"""Compiles requirements.txt, the lock of everything Backlot runs and is checked with, from pyproject.toml.

Pins already in the file are kept unless pyproject.toml forbids them; `make lock UPGRADE=NAME` moves one package and
`make lock UPGRADE=all` every one. The result names no package host, so it installs from whatever index pip is set to.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.txt"

HEADER = """\
# The lock: every package of Backlot and of its checks, by exact version. Compiled from pyproject.toml by `make lock`;
# do not edit by hand. Resolved for Python 3.11 on Linux, the oldest Python we support, so it holds every backport.
"""

# pip-compile resolves for the machine it runs on and drops the markers of what it finds there. These come with torch,
# whose own metadata (torch 2.14.0) asks for them on Linux only; without the marker the lock would not install on a Mac.
LINUX_ONLY = re.compile(r"^(?:nvidia-|cuda-|triton==)\S+$")
LINUX = ' ; platform_system == "Linux"'


def compile_lock(upgrade: str) -> None:
    """Run pip-compile over the existing pins. `upgrade`: "" for none, "all", or one package's name."""
    moved = {"": [], "all": ["--upgrade"]}.get(upgrade, ["--upgrade-package", upgrade])
    # --allow-unsafe pins setuptools too: torch needs it at run time, and `make setup` builds the project with it.
    subprocess.run(
        [sys.executable, "-m", "piptools", "compile", "--quiet", "--extra", "dev", "--strip-extras", "--allow-unsafe",
         "--no-header", "--no-emit-index-url", "--no-emit-trusted-host", "--no-emit-find-links", *moved,
         "--output-file", LOCK.name, "pyproject.toml"], cwd=ROOT, check=True)


def finished(compiled: str) -> str:
    """`compiled`, pip-compile's text, with our header and the markers it dropped."""
    lines = [line for line in compiled.splitlines() if not line.startswith("#")]
    return HEADER + "\n".join(line + LINUX if LINUX_ONLY.match(line) else line for line in lines) + "\n"


def main() -> None:
    compile_lock(os.environ.get("UPGRADE", ""))
    LOCK.write_text(finished(LOCK.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
