"""`backlot doctor`: what works, what does not, and what to do about it, a line each."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tasks.diagnosis import Line
from tasks.doctor import diagnose

HEALTHY, SICK = 0, 1

_MARKS = {"ok": ("ok", "green"), "warning": ("note", "yellow"), "failed": ("FAILED", "bold red")}
_ABOUT, _MARK = 10, 7


def doctor(console: Console, *, profile: str | None, full: bool, as_json: bool) -> int:
    """Look at everything; the exit code: 0 if nothing failed, else 1. Lines are printed as they are known."""
    lines = []
    for line in diagnose(profile=profile, full=full):
        lines.append(line)
        if not as_json:
            _show(console, line)
    sick = any(line.verdict == "failed" for line in lines)
    if as_json:
        sys.stdout.write(json.dumps({"ok": not sick, "lines": [asdict(line) for line in lines]}, indent=2) + "\n")
    else:
        _conclude(console, lines)
    return SICK if sick else HEALTHY


def _show(console: Console, line: Line) -> None:
    mark, style = _MARKS[line.verdict]
    table = Table.grid(padding=(0, 1))
    table.add_column(width=_ABOUT)
    table.add_column(width=_MARK)
    table.add_column()
    table.add_row(Text(line.about, "bold"), Text(mark, style), Text(line.said))
    console.print(table)
    if line.remedy:  # the terminal breaks it where it must, so that a command in it can be copied
        console.print(Text(" " * (_ABOUT + _MARK + 4) + line.remedy, style), soft_wrap=True)


def _conclude(console: Console, lines: list[Line]) -> None:
    told = Counter(line.verdict for line in lines)
    if told["failed"]:
        console.print(Text(f"{told['failed']} of {len(lines)} failed.", "bold red"))
    else:
        notes = f", {told['warning']} worth a look" if told["warning"] else ""
        console.print(Text(f"All is well{notes}.", "green"))
