"""What `backlot run` shows while it runs: one line a pass, a live bar where there is a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tasks.progress import Event, JobOpened, PassEnded, PassStarted, PassStepped, PassWaits, Published, Warned


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
                again = " (resumed: the document as it was resolved before)" if event.resumed else ""
                self._print(f"[bold]{event.pipeline}[/] job [bold]{event.job_id}[/], profile {event.profile}{again}")
            case Warned():
                self._print(f"  [yellow]note[/]          {event.text}")
            case PassWaits():
                self._print(f"  {event.at:<13} [yellow]waits[/]      another worker is at it; should it have died, "
                            f"this is taken over in {event.seconds_left} s")
            case PassStarted():
                self._bar.add_task(event.at, total=None)
            case PassStepped():
                self._bar.update(self._bar.task_ids[-1], completed=event.done, total=event.total)
            case PassEnded():
                for task in self._bar.task_ids:
                    self._bar.remove_task(task)
                self._print(_line(event))
                for note in event.notes:
                    self._print(f"  [yellow]note[/]          {note}")
            case Published():
                self._print(f"  [green]{event.role:<13}[/] {event.uri}")

    def _print(self, text: str) -> None:
        if not self._quiet:
            self._console.print(text, highlight=False, soft_wrap=True)


def _line(event: PassEnded) -> str:
    if event.disposition == "skipped":
        return f"  [dim]{event.at:<13} skipped    {event.reason}[/]"
    if event.disposition == "reused":
        return f"  {event.at:<13} [cyan]reused[/]     {event.seconds:6.2f} s  from {event.from_job}"
    calls = f"  {event.model_calls} model call{'s' if event.model_calls != 1 else ''}" if event.model_calls else ""
    return f"  {event.at:<13} [yellow]executed[/]   {event.seconds:6.2f} s{calls}"
