"""`backlot verify`: what is wrong with database, store and deliveries, and what was done about it."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from tasks.services import Services
from tasks.verify import KINDS, Finding, Kind, Repaired, Report, check, heal

CLEAN, FINDINGS = 0, 1

SHOWN = 20
"""Most findings of one kind that are printed for people; --json tells all."""


def verify(here: Services, console: Console, *, repair: bool, read_data: bool, as_json: bool) -> int:
    """Check, and with `repair` heal what can be; the exit code: 0 if no fault is left, else 1."""
    bar = Progress(TextColumn("  looking"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console,
                   transient=True, disable=as_json or not console.is_terminal)
    with bar:
        task = bar.add_task("", total=None)
        report = check(here, read_data=read_data,
                       progress=lambda done, total: bar.update(task, completed=done, total=total))
    repaired: list[Repaired] = []
    try:
        for one in heal(here, report.faults) if repair else ():
            repaired.append(one)
    finally:  # what was found took long to find, and is told whatever ended the repair
        left = _left(report, repaired)
        _tell(console, report, repaired, left, repair=repair, as_json=as_json)
    return FINDINGS if left else CLEAN


def _tell(console: Console, report: Report, repaired: list[Repaired], left: list[Finding], *, repair: bool,
          as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(_facts(report, repaired, left), indent=2) + "\n")
    else:
        _show(console, report, repaired, left, repair)


def _left(report: Report, repaired: Iterable[Repaired]) -> list[Finding]:
    healed = [one.finding for one in repaired if one.healed]
    return [finding for finding in report.faults if finding not in healed]


def _facts(report: Report, repaired: Iterable[Repaired], left: Iterable[Finding]) -> dict[str, Any]:
    """The report for programs. `findings` is everything found, `left` the faults that are still there."""
    return {
        "read_data": report.read_data, "looked_at": dict(report.counts),
        "findings": [_finding(finding) for finding in report.findings],
        "repaired": [{"kind": one.finding.kind, "where": one.finding.where, "done": one.done, "healed": one.healed}
                     for one in repaired],
        "left": [_finding(finding) for finding in left]}


def _finding(finding: Finding) -> dict[str, Any]:
    return {"kind": finding.kind, "fault": finding.fault, "where": finding.where, "what": finding.what,
            "repairable": finding.repairable, "remedy": finding.remedy}


def _show(console: Console, report: Report, repaired: list[Repaired], left: list[Finding], repair: bool) -> None:
    done = {(one.finding.kind, one.finding.where): one.done for one in repaired}
    told: Counter[Kind] = Counter()
    if report.findings:
        table = Table("what", "where", "", *(["done"] if repair else []), box=None, pad_edge=False, header_style="dim")
        for finding in sorted(report.findings, key=lambda one: (not one.fault, list(KINDS).index(one.kind))):
            told[finding.kind] += 1
            if told[finding.kind] <= SHOWN:
                style = "red" if finding in left else "green" if finding.fault else "dim"
                cells = [finding.where, finding.what]
                if repair:
                    cells.append(done.get((finding.kind, finding.where), ""))
                table.add_row(Text(finding.kind, style), *map(Text, cells))
        console.print(table)
    for kind, count in told.items():
        more = f" ({count - SHOWN} more than shown)" if count > SHOWN else ""
        console.print(Text.assemble((f"{count} {kind}", "bold"), f": {KINDS[kind].means}{more}.",
                                    f" {KINDS[kind].remedy}." if kind in {one.kind for one in left} else ""),
                      soft_wrap=True)
    looked = ", ".join(f"{name} {number}" for name, number in report.counts.items())
    how = "every byte read" if report.read_data else "sizes only"
    verdict = f"Faults: {len(left)}" if left else "No fault is left" if repaired else "No fault"
    console.print(Text(f"{verdict}. Looked at: {looked} ({how}).", "red" if left else "green"), soft_wrap=True)
