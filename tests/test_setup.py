"""The way in: the lock, `make setup` and `.ci/run`, without installing anything."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent


def locked() -> list[Requirement]:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.lstrip().startswith("#")]


def declared() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [Requirement(text) for text in (*project["dependencies"], *project["optional-dependencies"]["dev"])]


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`make` with our Makefile in `folder`; MAKEFLAGS of a `make test` around us must not reach it."""
    around = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(["make", *arguments], cwd=folder, env=around, capture_output=True, text=True, timeout=60,
                          check=False)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def program(path: Path, script: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_the_lock_pins_every_package_to_one_version_and_names_no_host() -> None:
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert "://" not in text
    assert re.findall(r"^\s*-", text, re.MULTILINE) == []  # no option lines: index, editable, file
    pins = locked()
    assert [str(pin) for pin in pins if not re.fullmatch(r"==[^*,]+", str(pin.specifier)) or pin.url] == []
    names = [canonicalize_name(pin.name) for pin in pins]
    assert len(set(names)) == len(names)


def test_the_lock_fulfils_every_requirement_of_the_project() -> None:
    pins = {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in locked()}
    unmet = [str(wanted) for wanted in declared()
             if not wanted.specifier.contains(pins.get(canonicalize_name(wanted.name), "0"), prereleases=True)]
    assert unmet == [], "run `make lock`"


def test_packages_for_nvidia_gpus_are_asked_for_on_linux_only() -> None:
    mac = {"platform_system": "Darwin", "sys_platform": "darwin", "platform_machine": "arm64"}
    on_mac = [pin.name for pin in locked() if pin.marker is None or pin.marker.evaluate(mac)]
    assert [name for name in on_mac if name.startswith(("nvidia", "cuda", "triton"))] == []
    assert "torch" in on_mac


def test_make_alone_lists_every_target_with_a_line_about_it(checkout: Path) -> None:
    listed = make(checkout).stdout
    [targets] = re.findall(r"^\.PHONY: (.+)$", (checkout / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for target in targets.split():
        assert re.search(rf"^  make {target} +\S.{{10,}}$", listed, re.MULTILINE), target


def pretending(path: Path, version: str, statement: str) -> Path:
    """A Python that says it is `version` and runs `statement` before whatever it is given with -c."""
    return program(path, f'[ "$1" = --version ] && echo "Python {version}" && exit 0\n'
                         f"exec {sys.executable} -c 'import sys; {statement}; exec(sys.argv[1])' \"$2\"")


def test_setup_refuses_an_older_python_in_one_line(checkout: Path) -> None:
    old = pretending(checkout / "bin" / "python3.9", "3.9.2", "sys.version_info = (3, 9, 2)")
    done = make(checkout, "setup", f"PYTHON={old}")
    assert done.returncode != 0
    [said] = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert "3.11 or newer" in said
    assert "Python 3.9.2" in said
    assert "make setup PYTHON=" in said
    assert not (checkout / ".venv").exists()


def test_setup_names_the_package_that_debian_lacks(checkout: Path) -> None:
    # Debian splits ensurepip from Python; `import ensurepip` fails as it does where sys.modules holds None.
    bare = pretending(checkout / "bin" / "python3", "3.12.0", 'sys.modules["ensurepip"] = None')
    done = make(checkout, "setup", f"PYTHON={bare}")
    assert done.returncode != 0
    assert "apt-get install python3-venv" in done.stderr
    assert not (checkout / ".venv").exists()


def test_setup_says_so_when_there_is_no_such_python(checkout: Path) -> None:
    done = make(checkout, "setup", "PYTHON=python9.99")
    assert done.returncode != 0
    assert "python9.99 is missing" in done.stderr


def test_setup_costs_nothing_the_second_time_and_runs_again_when_the_lock_changes(checkout: Path) -> None:
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / ".installed").touch()
    start = time.monotonic()
    done = make(checkout, "setup")
    assert time.monotonic() - start < 20
    assert done.returncode == 0
    assert "pip" not in done.stdout

    later = time.time() + 10
    os.utime(checkout / "requirements.txt", (later, later))
    assert "pip install" in make(checkout, "--dry-run", "setup").stdout


def test_ci_runs_make_test_and_takes_its_verdict(tmp_path: Path) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci")
    for name in ("git", "psql"):
        program(tmp_path / "bin" / name, "exit 0")
    program(tmp_path / "bin" / "make", 'echo "make $*"; exit 3')
    path = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", ".ci/run"], cwd=tmp_path, env=path, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "make test\n"
    assert done.returncode == 3


def test_ci_without_root_installs_nothing_and_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci")
    bin_ = tmp_path / "bin"
    program(bin_ / "make", 'echo "make $*"')
    program(bin_ / "id", "echo 1000")
    program(bin_ / "python3", "exit 1")
    program(bin_ / "apt-get", "echo apt-get was called")
    (bin_ / "dirname").symlink_to(str(shutil.which("dirname")))
    done = subprocess.run([str(shutil.which("bash")), ".ci/run"], cwd=tmp_path, env={"PATH": str(bin_)},
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines() == [
        "ci: not root, so not installing: git python3 python3-venv postgresql", "make test"]
    assert done.returncode == 0
