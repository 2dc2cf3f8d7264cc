"""`backlot weights`: what is here, whose it is, fetch it, verify it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from flows.tables import plain, table
from storage.settings import Settings
from tasks import weights
from tasks.weights import Plan, Wanted, WeightRow, size_words

weights_app = typer.Typer(no_args_is_help=True, help="Look after model files.")

Profile = Annotated[str, typer.Option(help="tiny, sdxl or sdxl-union")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead")]

CLEAN, FAULTS = 0, 1
NAME = 60
"""Characters of a file's key that are shown before its bar: its last ones, with as much of the repository as fits."""
NOTHING = "These weights are drawn in memory: nothing to download."


@weights_app.command("list")
def weights_list(profile: Profile = "sdxl", as_json: AsJson = False) -> None:
    """List a profile's repositories: whose they are, what of them is here and pinned, at which commit."""
    rows = weights.weight_rows(Settings(), profile)
    print_json({"profile": profile, "repositories": [asdict(row) for row in rows]}) if as_json else show_list(
        console(), profile, rows)


@weights_app.command("licences")
def weights_licences(profile: Annotated[str | None, typer.Option(help="One profile; not given: all")] = None,
                     as_json: AsJson = False) -> None:
    """List every repository's licence: may it be used commercially, what does it ask, where is that known from."""
    rows = weights.licence_rows(Settings(), profile)
    print_json({"repositories": [asdict(row) for row in rows]}) if as_json else show_licences(console(), rows)


@weights_app.command("pull")
def weights_pull(
        profile: Profile = "sdxl",
        only: Annotated[list[str], typer.Option(help="Only what this role needs; may be given several times")] = [],  # noqa: B006
        repin: Annotated[list[str], typer.Option(
            help="Take this repository's newest commit, though another is pinned; may be given several times"
        )] = []) -> None:  # noqa: B006
    """Fetch a profile's files from the Hub, verify and pin them. What is here and as pinned is not fetched again."""
    settings = Settings()
    if not weights.weight_rows(settings, profile):
        console().print(NOTHING)
        return
    with PullWatcher(console(), settings) as watcher:
        plan = weights.pull(settings, profile, watcher, only=only, repin=repin)
    watcher.conclude(plan)


@weights_app.command("verify")
def weights_verify(profile: Profile = "sdxl", as_json: AsJson = False) -> None:
    """Hash a profile's files again, about 1 s a GB and core. Exit code: 0 all as pinned, 1 faults found."""
    raise typer.Exit(verify(console(), Settings(), profile, as_json=as_json))


@weights_app.command("pin")
def weights_pin(profile: Profile = "sdxl") -> None:
    """Record the files that came to this machine by hand: their digests enter every key, and loading checks them."""
    typer.echo(f"Recorded in {weights.pin_weights(Settings(), profile)}")


def console() -> Console:
    """As wide as the terminal; in a pipe wide enough that nothing is cut."""
    return Console() if sys.stdout.isatty() else Console(width=200)


def print_json(facts: Any) -> None:
    typer.echo(json.dumps(facts, indent=2))


def show_list(console: Console, profile: str, rows: Sequence[WeightRow]) -> None:
    if not rows:
        console.print(NOTHING)
        return
    listed = table("repository", "serves", "licence", "commercial use", "GB", "files", "here", "pinned", "commit")
    for row in rows:
        listed.add_row(*plain(row.repo, row.roles, row.licence, row.commercial_use, f"{row.gigabytes:.2f}",
                              str(row.files), str(row.here), str(row.pinned),
                              row.commit[:12] if row.commit else "not known yet"))
    console.print(listed)
    missing = [row for row in rows if row.here < row.files]
    if missing:
        said = ("", f"To get what is missing: backlot weights pull --profile {profile}",
                "Or, where there is a network, and then by hand to here:", *(row.command for row in missing),
                f"and here: backlot weights pin --profile {profile}")
        console.print(Text("\n".join(said)), soft_wrap=True)


def show_licences(console: Console, rows: Sequence[WeightRow]) -> None:
    if not rows:
        console.print(NOTHING)
        return
    listed = table("repository", "licence", "commercial use", "asks", "known from")
    for row in rows:
        listed.add_row(*plain(row.repo, row.licence, row.commercial_use, row.asks, row.licence_from))
    console.print(listed)


def verify(console: Console, settings: Settings, profile: str, *, as_json: bool) -> int:
    """Hash everything again and tell each file that is not as pinned; the exit code."""
    bar = Progress(TextColumn("  hashing"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), console=console,
                   transient=True, disable=as_json or not console.is_terminal)
    checked = []
    with bar:
        task = bar.add_task("", total=weights.bytes_here(settings, profile))
        for one in weights.verify(settings, profile, lambda read: bar.advance(task, read)):
            checked.append(one)
            if one.fault is not None and not as_json:
                console.print(Text(f"{one.fault}", style="red"), soft_wrap=True)
    faults = [one for one in checked if one.fault is not None]
    if as_json:
        print_json({"profile": profile, "files": len(checked),
                    "faults": [{"file": one.file.key, "fault": str(one.fault)} for one in faults]})
    elif not checked:
        console.print(NOTHING)
    elif faults:
        console.print(Text(f"{len(faults)} of {len(checked)} files are not as pinned.", "bold red"))
    else:
        console.print(Text(f"All {len(checked)} files are as pinned.", "green"))
    return FAULTS if faults else CLEAN


class PullWatcher:
    """What a pull shows: the plan and its licences, a bar a file and one for all where there is a terminal, else a line
    a file."""

    def __init__(self, console: Console, settings: Settings) -> None:
        self._console = console
        self._settings = settings
        self._bar = Progress(TextColumn("  {task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
                             TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal)
        self._looking = console.status("looking at what is here, and asking the Hub for the rest")
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> PullWatcher:
        self._looking.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._looking.stop()
        self._bar.stop()
        if kind is KeyboardInterrupt:
            self._say("Interrupted. What has arrived is kept; the same pull goes on from there.", "yellow")

    def planned(self, plan: Plan) -> None:
        """Before anything is fetched: how much, whence, under which licences."""
        self._looking.stop()
        if not plan.wanted:
            return
        folder = self._settings.weights_dir
        self._say(f"{plan.missing / 1e9:.2f} GB in {len(plan.wanted)} files are to come to {folder} "
                  f"({shutil.disk_usage(folder).free / 1e9:.1f} GB free).")
        listed = table("repository", "commit", "files", "GB", "licence", "commercial use", "the Hub's page says")
        for repo in dict.fromkeys(one.file.repo for one in plan.wanted):
            mine = [one for one in plan.wanted if one.file.repo == repo]
            listed.add_row(*plain(
                repo, mine[0].commit[:12], str(len(mine)), f"{sum(one.missing for one in mine) / 1e9:.2f}",
                mine[0].file.licence, mine[0].file.commercial_use, plan.listings[repo].licence or "nothing"))
        self._console.print(listed)
        for one in plan.wanted:
            if one.changed:
                self._say(f"{one.file.key} is here and is not what it should be: fetched again.", "yellow")
        self._bar.start()
        self._tasks[""] = self._bar.add_task("all", total=plan.missing)

    def starts(self, one: Wanted) -> None:
        self._tasks[one.file.key] = self._bar.add_task(one.file.key[-NAME:], total=one.remote.size, completed=one.have)

    def arrived(self, one: Wanted, count: int) -> None:
        for key in ("", one.file.key):
            self._bar.advance(self._tasks[key], count)

    def ends(self, one: Wanted) -> None:
        self._bar.remove_task(self._tasks[one.file.key])
        self._say(f"  fetched  {one.file.key}  {size_words(one.remote.size)}")

    def conclude(self, plan: Plan) -> None:
        here = len(plan.settled) + len(plan.adopted)
        adopted = f", {len(plan.adopted)} of them pinned now" if plan.adopted else ""
        was = f"{here} file{'s were' if here != 1 else ' was'} here already{adopted}; " if here else ""
        self._say(f"{was}{len(plan.wanted)} fetched, verified and pinned.", "green")

    def _say(self, text: str, style: str = "") -> None:
        self._console.print(Text(text, style), soft_wrap=True)
