"""Documents that cannot lie: what they show is run or checked."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import typer.main
import yaml

from flows.cli import app
from flows.methods import Methods
from flows.omni_bg_resolve import resolve
from flows.pipelines import PIPELINES
from flows.run_command import build_document
from storage.settings import Settings
from tasks import profiles

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted((ROOT / "examples" / "omni-bg").glob("*.yaml"))
FOLDERS = "flows|tasks|models|storage|tests|docs|examples|benchmarks"
PAGES = [ROOT / "README.md", ROOT / "AGENTS.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def shown_commands() -> list[str]:
    """Every `backlot …` line of the README's code blocks, without its comment."""
    blocks = re.findall(r"```\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.S)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("backlot ")]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_every_example_document_is_valid_resolves_and_names_a_photo_that_is_there(path: Path) -> None:
    document = build_document(PIPELINES["omni-bg"], path, {})
    resolved = resolve(document, min_side=profiles.min_side("sdxl"), methods=Methods())  # type: ignore[arg-type]
    assert resolved.document.seed == document.seed >= 0  # type: ignore[attr-defined]
    assert Path(document.image).is_file()  # type: ignore[attr-defined]
    assert yaml.safe_load(path.read_text())["image"].startswith("../products/")


def test_there_are_at_least_six_examples() -> None:
    assert len(DOCUMENTS) >= 6


@pytest.mark.parametrize("line", shown_commands())
def test_every_command_the_readme_shows_parses(line: str) -> None:
    """Parsed by the program's own parser down to its options, and not run."""
    command = typer.main.get_command(app)
    words = shlex.split(line)[1:]
    context = command.make_context("backlot", list(words), resilient_parsing=False)
    while hasattr(command, "commands"):
        name, command, words = command.resolve_command(context, [*context._protected_args, *context.args])  # type: ignore[attr-defined]
        context = command.make_context(name, list(words), parent=context)
    assert not context.args


def test_make_targets_that_pages_mention_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.M))
    for page in PAGES:
        for target in re.findall(r"`make ([a-z-]+)`", page.read_text(encoding="utf-8")):
            assert target in targets, f"{page.name} mentions make {target}"


def test_files_that_pages_link_or_name_exist() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            assert "://" in target or (page.parent / target).exists(), f"{page.name} links {target}"
        if page.parent.name == "decisions":
            continue  # a decision may name a file that was tried and is not there
        for name in re.findall(rf"`((?:{FOLDERS})/[\w./-]+\.\w+)`", text):
            assert (ROOT / name).exists(), f"{page.name} names {name}"


def test_settings_that_pages_mention_exist() -> None:
    known = {f"BACKLOT_{name.upper()}" for name in Settings.model_fields}
    for page in PAGES:
        assert set(re.findall(r"BACKLOT_[A-Z0-9_]+", page.read_text(encoding="utf-8"))) <= known


def test_every_command_has_help() -> None:
    def walk(command: object, path: str) -> None:
        assert command.help, path  # type: ignore[attr-defined]
        for name, below in getattr(command, "commands", {}).items():
            walk(below, f"{path} {name}")

    walk(typer.main.get_command(app), "backlot")


def test_no_page_is_left_with_a_placeholder() -> None:
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.split():
        assert not re.search(r"\b(TODO|FIXME|XXX|TABLE\n)\b", (ROOT / name).read_text(encoding="utf-8")), name


def test_the_page_of_guarantees_names_tests_that_exist() -> None:
    rows = re.findall(r"^\| ([GP]\d+) \| .* \| ([^|]+) \| ([^|]*)\|$", (ROOT / "docs/guarantees.md").read_text(), re.M)
    assert [number for number, _, _ in rows] == [
        *(f"G{number}" for number in range(1, 39)), *(f"P{number}" for number in range(1, 8))]
    for number, state, tests in rows:
        assert state.startswith(("proved", "in part", "not yet")), number
        named = re.findall(r"(\S+\.py)::(\w+)", tests)
        assert named or not state.startswith(("proved", "in part")), f"{number} names no test"
        for file, test in named:
            assert f"def {test}(" in (ROOT / "tests" / file).read_text(), f"{number}: {file} has no {test}"
