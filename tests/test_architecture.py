"""The shape of the house: who may import whom, what names resolve to, what no file may hold."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("models", "storage", "tasks", "flows")
HEAVY = ("torch", "torchvision", "diffusers", "transformers", "spandrel", "controlnet_aux")
MOST_LINES = 400


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run([program, "--no-cache"], cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def our_files() -> list[Path]:
    """Every file that is committed or would be."""
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                            cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def in_fresh_interpreter(code: str) -> str:
    """The last line that `code` prints in a new Python, outside the repository (-P: the folder is not on its path)."""
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True,
                          timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_the_import_contracts_hold() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(("package", "line", "contract"), [
    ("models", "import storage", "models and storage never meet"),
    ("storage", "import models.params", "models and storage never meet"),
    ("tasks", "import flows", "flows -> tasks -> (models | storage)"),
    ("models", "import prefect", "do not know Prefect"),
    ("storage", "from prefect import task", "do not know Prefect"),
    ("flows", "import torch", "no tensors"),
    ("storage", "from diffusers import AutoencoderKL", "no tensors"),
    ("flows", "import models.passes", "plain data and questions only"),
    ("flows", "import storage.artifacts", "plain data and questions only"),
])
def test_a_forbidden_import_breaks_its_contract(tmp_path: Path, package: str, line: str, contract: str) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name in PACKAGES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    for target in ("models/params.py", "models/passes.py", "storage/artifacts.py"):
        (tmp_path / target).touch()
    (tmp_path / package / "planted.py").write_text(line + "\n")

    done = lint_imports(tmp_path)

    assert done.returncode != 0
    [broken] = [row for row in done.stdout.splitlines() if "BROKEN" in row]
    assert contract in broken


@pytest.mark.parametrize("module", ["models.params", "storage.errors", "storage.lineage", "storage.records",
                                    "storage.settings"])
def test_flows_may_read_plain_data_and_questions(tmp_path: Path, module: str) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name in PACKAGES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    (tmp_path / f"{module.replace('.', '/')}.py").touch()
    (tmp_path / "flows/planted.py").write_text(f"import {module}\n")

    done = lint_imports(tmp_path)

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("package", ["flows", "storage"])
def test_importing_every_module_of_flows_and_storage_loads_no_torch(package: str) -> None:
    # `prefect deploy` imports the flow modules, and a planner or a web server reads storage: neither may cost seconds.
    loaded = in_fresh_interpreter(
        f"import importlib, json, pkgutil, sys\n"
        f"import {package}\n"
        f"for found in pkgutil.iter_modules({package}.__path__, '{package}.'):\n"
        f"    found.name.endswith('__main__') or importlib.import_module(found.name)\n"
        f"print(json.dumps([name for name in {HEAVY} if name in sys.modules]))")
    assert json.loads(loaded) == []


def test_help_answers_without_loading_torch() -> None:
    loaded = in_fresh_interpreter(
        f"import json, sys\n"
        f"from flows.cli import main\n"
        f"sys.argv = ['backlot', '--help']\n"
        f"try:\n"
        f"    main()\n"
        f"except SystemExit as end:\n"
        f"    assert not end.code, end.code\n"
        f"print(json.dumps([name for name in {HEAVY} if name in sys.modules]))")
    assert json.loads(loaded) == []


@pytest.mark.parametrize("name", PACKAGES)
def test_each_package_name_is_ours_and_nobody_elses(name: str) -> None:
    spec = find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin).resolve() == ROOT / name / "__init__.py"
    assert set(packages_distributions().get(name, ())) <= {"backlot"}


def imported_packages(path: Path) -> set[str]:
    """The top-level names that a file imports anywhere in it."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    from_ = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    return {name.partition(".")[0] for name in plain | from_}


def test_what_the_four_packages_import_is_declared_and_not_an_accident_of_others() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {canonicalize_name(Requirement(text).name) for text in project["dependencies"]}
    imported = set[str]().union(*(imported_packages(path) for name in PACKAGES for path in (ROOT / name).rglob("*.py")))
    providers = packages_distributions()
    undeclared = {name for name in imported - set(sys.stdlib_module_names) - set(PACKAGES)
                  if not {canonicalize_name(provider) for provider in providers.get(name, ())} & declared}
    assert undeclared == set()


def test_no_module_of_flows_is_named_like_a_package_that_can_be_imported() -> None:
    # Prefect's file entrypoints put flows/ first on sys.path; such a module would shadow the package for good.
    modules = {path.stem for path in (ROOT / "flows").glob("*.py")} - {"__init__"}
    taken = set(PACKAGES) | set(packages_distributions()) | set(sys.stdlib_module_names)
    assert modules & taken == set()


def test_tests_are_not_a_package() -> None:
    # tests/models/__init__.py would make `import models` find the tests.
    assert [path for path in our_files() if path.name == "__init__.py" and path.is_relative_to(ROOT / "tests")] == []


def test_every_python_file_can_be_held_in_the_head() -> None:
    lines = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
             for path in our_files() if path.suffix == ".py"}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


def test_no_file_names_this_machine_or_a_package_host() -> None:
    # Joined here, so that this file does not hold them either.
    words = ["/wo" + "rk/", "/opt" + "/wheels", "/opt" + "/pypi", "index" + "-url", "find" + "-links=",
             "pypi" + ".org", "python" + "hosted.org", "deb.debian" + ".org", "npmjs" + ".org"]
    found = {}
    for path in our_files():
        text = path.read_bytes().decode("utf-8", errors="replace")
        if hits := [word for word in words if word in text]:
            found[str(path.relative_to(ROOT))] = hits
    allowed = {"scripts/lock.py": ["index" + "-url"]}  # names the option that keeps hosts out of the lock
    assert found == allowed


def test_the_environment_of_the_tests_is_not_the_callers() -> None:
    assert "PREFECT_API_URL" not in os.environ
    assert Path(os.environ["PREFECT_HOME"]).parent == Path(os.environ["BACKLOT_HOME"]).parent
    assert not Path(os.environ["PREFECT_HOME"]).is_relative_to(Path.home() / ".prefect")
