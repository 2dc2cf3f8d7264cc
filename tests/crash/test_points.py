"""The fault points themselves: few, in two packages' hands only, and each of them reached by a crash test."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

from toy_home import Home
from toy_worker import ROOT, Workers

MOST = 15
"""More would be a second program inside the first."""

REACHED_ELSEWHERE: dict[str, str] = {}
"""Points that a run on a local disk does not pass: the test that does."""


def _points() -> Iterator[tuple[str, Path]]:
    for path in sorted(ROOT.glob("*/**/*.py")):
        if path.relative_to(ROOT).parts[0] not in ("models", "storage", "tasks", "flows"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "point":
                assert isinstance(node.args[0], ast.Constant), f"{path}: a point's name is a literal"
                yield str(node.args[0].value), path.relative_to(ROOT)


def test_there_are_few_points_all_in_storage_and_run_pass() -> None:
    found = list(_points())
    assert 1 < len({name for name, _ in found}) <= MOST
    assert {str(path) for _, path in found if path.parts[0] != "storage"} == {"tasks/run_pass.py"}


def test_every_point_is_reached_by_a_crash_test(workers: Workers, homes: Callable[..., Home]) -> None:
    home = homes()
    assert workers.run(**home.case({"job_id": "a"}, {"job_id": "b", "amount": 2}, damage=True)).status == 0
    reached = {name for name, _ in home.points()}
    assert {name for name, _ in _points()} - reached == set(REACHED_ELSEWHERE)
