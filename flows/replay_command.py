"""`backlot replay`: a job's passes made again and compared, told as a table or as one JSON object."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from flows.documents import refused
from flows.replay_plan import plan
from flows.tables import short, table
from storage.lineage import Change
from storage.records import Job
from tasks.profiles import notice
from tasks.replay import Difference, Place, Replay, Replayed
from tasks.replay_keep import empty_folder, keep
from tasks.services import Services

EQUAL, UNEQUAL = 0, 1
STYLE = {"bit-equal": "green", "differs": "red", "failed": "red", "not replayed": "yellow"}


def replay(here: Services, console: Console, job_id: str, *, at: Collection[str], anyway: bool, keep_in: Path | None,
           as_json: bool) -> int:
    """Replay the job, or its places `at`; the exit code: 0 if every result met was bit-equal, else 1."""
    job = here.lineage.job(job_id)
    places = _chosen(plan(here.lineage, job), at)
    if keep_in is not None:
        empty_folder(keep_in)
    done: list[Replayed] = []
    kept: dict[str, list[Path]] = {}
    try:
        _replay(here, console, job, places, done, kept, anyway=anyway, keep_in=keep_in, quiet=as_json)
    finally:  # what was replayed took long, and is told whatever ended it
        equal = len(done) == len(places) and _all_equal(done)
        if as_json:
            sys.stdout.write(json.dumps(_report(job, done, kept, equal), indent=2) + "\n")
        else:
            _show(console, job, done, kept, equal)
    return EQUAL if equal else UNEQUAL


def _chosen(places: Sequence[Place], at: Collection[str]) -> list[Place]:
    known = [place.at for place in places]
    for name in at:
        if name not in known:
            raise refused("--at", name, "is no place of this job", f"Allowed: {', '.join(known)}")
    return [place for place in places if not at or place.at in at]


def _replay(here: Services, console: Console, job: Job, places: Sequence[Place], done: list[Replayed],
            kept: dict[str, list[Path]], *, anyway: bool, keep_in: Path | None, quiet: bool) -> None:
    bar = Progress(TextColumn("  {task.description:<13}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                   console=console, transient=True, disable=quiet or not console.is_terminal)
    again = Replay(here, job, anyway=anyway)
    with bar:
        whole = bar.add_task("replaying", total=len(places))
        for place in places:
            steps = bar.add_task(place.at, total=None)

            def on_step(now: int, total: int, steps: TaskID = steps) -> None:
                bar.update(steps, completed=now, total=total)

            one = again.place(place, on_step)
            if keep_in is not None:
                kept[place.at] = keep(keep_in, job, one)
            done.append(one.without_pictures())
            bar.remove_task(steps)
            bar.advance(whole)


def _all_equal(done: Sequence[Replayed]) -> bool:
    """Where there was nothing to meet, nothing is shown to be equal."""
    tried = [one for one in done if one.tried]
    return bool(tried) and all(one.verdict == "bit-equal" for one in tried)


def _report(job: Job, done: Sequence[Replayed], kept: dict[str, list[Path]], equal: bool) -> dict[str, Any]:
    """The replay for programs. Its shape is a contract."""
    return {"job_id": job.job_id, "pipeline": job.pipeline, "profile": job.profile, "notice": notice(job.profile),
            "state": job.state, "bit_equal": equal, "counts": dict(Counter(one.verdict for one in done)),
            "places": [_place(one, kept.get(one.place.at, ())) for one in done]}


def _place(one: Replayed, kept: Collection[Path]) -> dict[str, Any]:
    row = one.place.recorded.row if one.place.recorded else None
    return {"at": one.place.at, "pass": one.place.pass_name, "verdict": one.verdict,
            "disposition": row.disposition if row else None, "made_by": row.made_by_job if row else None,
            **{name: {"recorded": then, "now": now} for name, (then, now) in (
                ("version", one.version), ("key", one.key), ("digest", one.digest))},
            "difference": asdict(one.difference) if one.difference else None,
            "changes": [{"part": change.part, "recorded": change.before, "now": change.after}
                        for change in one.changes],
            "said": list(one.said), "error": one.error, "seconds": one.seconds,
            "recorded_seconds": row.seconds if row and row.exec_id else None, "kept": [str(path) for path in kept]}


def _show(console: Console, job: Job, done: Sequence[Replayed], kept: dict[str, list[Path]], equal: bool) -> None:
    console.print(Text.assemble("Replay of ", (job.job_id, "bold"), f"  {job.pipeline}, profile {job.profile}, "
                                f"{job.state}"))
    if warning := notice(job.profile):
        console.print(Text(f"  {warning}", "yellow"), soft_wrap=True)
    listed = table("place", "pass", "made by", "verdict", "differs by", "seconds", "recorded")
    for one in done:
        listed.add_row(*_cells(one))
    console.print(listed)
    for one in done:
        for line in _details(one, kept.get(one.place.at, ())):
            console.print(Text.assemble("  ", (one.place.at, "bold"), ": ", line), soft_wrap=True)
    for line in _harmless(done):
        console.print(Text(line, "dim"), soft_wrap=True)
    console.print(Text(*_conclusion(done, equal)), soft_wrap=True)


def _cells(one: Replayed) -> tuple[Text, ...]:
    row = one.place.recorded.row if one.place.recorded else None
    version = next((number for number in one.version if number is not None), None)
    made_by = row.made_by_job if row and row.exec_id else None
    left_out = row.reason if row and not row.exec_id else ""
    return (Text(one.place.at), Text(one.place.pass_name + (f" {version}" if version is not None else "")),
            Text(made_by or left_out), Text(one.verdict, STYLE.get(one.verdict, "dim")),
            Text(_apart(one.difference) if one.difference else ""),
            Text(f"{one.seconds:.2f}" if one.seconds else ""), Text(f"{row.seconds:.2f}" if row and made_by else ""))


def _apart(found: Difference) -> str:
    levels = f"{found.most} level{'s' if found.most > 1 else ''}"
    return f"at most {levels}, mean {found.mean:.4f}, {found.share:.2%} of pixels"


def _details(one: Replayed, kept: Collection[Path]) -> list[str]:
    """What a row has no room for: where, why, and the files."""
    lines = []
    if one.difference:
        lines.append(f"the largest difference is at x={one.difference.x}, y={one.difference.y}")
    if one.changes and one.verdict != "bit-equal":
        lines.append("otherwise than recorded: " + "; ".join(map(_change_words, one.changes)))
    lines += [text for text in one.said if one.verdict != "skipped"]
    if kept:
        lines.append("kept: " + ", ".join(map(str, kept)))
    return lines


def _harmless(done: Sequence[Replayed]) -> list[str]:
    """What is otherwise than recorded where the pixels are equal all the same, each said once."""
    places: dict[str, list[str]] = {}
    for one in done:
        for change in one.changes if one.verdict == "bit-equal" else ():
            places.setdefault(_change_words(change), []).append(one.place.at)
    return [f"Otherwise than recorded, and equal all the same: {words} ({', '.join(at)})"
            for words, at in places.items()]


def _conclusion(done: Sequence[Replayed], equal: bool) -> tuple[str, str]:
    """The last line and its style."""
    tried = [one for one in done if one.tried]
    missed = [one.place.at for one in done if one.verdict == "not reached"]
    never = f" The job never reached {', '.join(missed)}." if missed else ""
    if not tried:
        return f"Nothing to replay: no result is recorded.{never}", "yellow"
    if equal:
        return f"Bit-equal: {len(tried)} of {len(tried)} results.{never}", "green"
    good = sum(one.verdict == "bit-equal" for one in tried)
    rest = ", ".join(f"{verdict}: {' '.join(one.place.at for one in tried if one.verdict == verdict)}"
                     for verdict in dict.fromkeys(one.verdict for one in tried) if verdict != "bit-equal")
    ended = f" ({rest})" if rest else ", and the replay was broken off"
    return f"Bit-equal: {good} of {len(tried)} results{ended}.{never}", "red"


def _change_words(change: Change) -> str:
    """"torch 2.10.0 -> 2.11.0", "the weights sdxl 0f3a… -> 77c1…"."""
    group, _, name = change.part.partition(".")
    said = {"environment": name, "weights": f"the weights {name}", "file": f"the file {name}",
            "inputs": f"the input {name}", "version": "the pass's version",
            "batch_size": "pictures in the batch"}.get(group, name or group)
    return f"{said} {short(change.before)} -> {short(change.after)}"
