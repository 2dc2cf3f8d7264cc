"""What `backlot run` shows while it runs: one line a pass, a live bar where there is a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from storage.records import Judgement
from tasks.progress import Event, JobOpened, Judged, PassEnded, PassStarted, PassStepped, PassWaits, Published, Warned

Part = str | tuple[str, str]
"""Text, or text with its style."""


class Watcher:
    """Listens to a run's events; remembers the job's id, and prints unless quiet."""

    def __init__(self, console: Console, *, quiet: bool) -> None:
        self._console = console
        self._quiet = quiet
        self._bar = Progress(TextColumn("  {task.description:<13}"), BarColumn(), MofNCompleteColumn(),
                             TimeElapsedColumn(), console=console, transient=True,
                             disable=quiet or not console.is_terminal)
        self.job_id: str | None = None

    def __enter__(self) -> Watcher:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def __call__(self, event: Event) -> None:
        match event:
            case JobOpened():
                self.job_id = event.job_id
                again = " (opened before: what was resolved then counts)" if event.resumed else ""
                self._print((event.pipeline, "bold"), " job ", (event.job_id, "bold"),
                            f", profile {event.profile}{again}")
            case Warned():
                self._print(*_start("note", "yellow"), event.text)
            case PassWaits():
                self._print(*_start(event.at), ("waits", "yellow"), "      another worker is at it; should it have "
                            f"died, this is taken over in {event.seconds_left} s")
            case PassStarted():
                self._bar.add_task(event.at, total=None)
            case PassStepped():
                self._bar.update(self._bar.task_ids[-1], completed=event.done, total=event.total)
            case PassEnded():
                for task in self._bar.task_ids:
                    self._bar.remove_task(task)
                self._print(*_ended(event))
                for note in event.notes:
                    self._print(*_start("note", "yellow"), note)
            case Judged():
                if event.judgement.verdict == "fail":
                    self._print(*_start(event.judgement.name, "red"), _fails(event.judgement))
            case Published():
                self._print(*_start(event.role, "green"), event.uri)

    def _print(self, *parts: Part) -> None:
        """As plain text: what users write may look like markup."""
        if not self._quiet:
            self._console.print(Text.assemble(*parts), soft_wrap=True)


def _fails(one: Judgement) -> str:
    return f"{one.value:.3f} is below the limit of {one.limit}: {one.said}"


def _start(name: str, style: str = "") -> tuple[Part, ...]:
    return "  ", (f"{name:<13} ", style)


def _ended(event: PassEnded) -> tuple[Part, ...]:
    if event.disposition == "skipped":
        return (*_start(event.at, "dim"), (f"skipped    {event.reason}", "dim"))
    if event.disposition == "reused":
        return (*_start(event.at), ("reused", "cyan"), f"     {event.seconds:6.2f} s  from {event.from_job}")
    calls = f"  {event.model_calls} model call{'s' if event.model_calls != 1 else ''}" if event.model_calls else ""
    return (*_start(event.at), ("executed", "yellow"), f"   {event.seconds:6.2f} s{calls}")
