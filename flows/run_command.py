"""`backlot run`: a document from file and flags, checked, run here, told line by line or as one JSON object."""

from __future__ import annotations

import json
import signal
import sys
import traceback
from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event, current_thread, main_thread
from typing import Any

from rich.console import Console
from rich.text import Text

from flows.console import Watcher
from flows.documents import Document, parse_text, read_document, refused, validate
from flows.pipelines import Pipeline
from flows.prefect_home import explained, own_prefect
from flows.report import run_report
from storage.errors import SettingsError
from storage.settings import Settings
from tasks import profiles
from tasks.classify import REMEDIES, classify
from tasks.door import check_image
from tasks.progress import Event as Progress
from tasks.progress import PassStarted, PassStepped, listening
from tasks.requests import pass_names
from tasks.services import Services, services, use

DONE, FAILED, BAD_INPUT, NEEDS_REVIEW, INTERRUPTED = 0, 1, 2, 3, 130
ENDED = {DONE: "completed", FAILED: "failed", BAD_INPUT: "refused", NEEDS_REVIEW: "needs_review",
         INTERRUPTED: "interrupted"}

_told_to_end = Event()


def build_document(pipeline: Pipeline, path: Path | None, texts: Mapping[str, str]) -> Document:
    """The document in `path`, with command-line texts laid over it.

    A relative image is relative to its document, on the command line to the current folder.
    """
    values = read_document(path) if path else {}
    _make_absolute(values, path.parent if path else Path())
    given = {field: parse_text(pipeline.document, field, text) for field, text in texts.items()}
    _make_absolute(given, Path())
    asked = {**values, **given}
    if isinstance(image := asked.get("image"), str) and image.strip():
        check_image(image)  # before the document's own checks, whose messages repeat what was given
    return validate(pipeline.document, asked)


def _make_absolute(values: dict[str, Any], folder: Path) -> None:
    """The job's id stands for this very file, wherever the command is repeated from."""
    image = values.get("image")
    if isinstance(image, str) and image.strip() and "://" not in image:
        values["image"] = str(folder.resolve() / image)


def run(pipeline: Pipeline, path: Path | None, texts: Mapping[str, str], *, profile: str | None,
        refresh: tuple[str, ...], as_json: bool) -> int:
    """Run one job here and now; the process's exit code. With `as_json`, standard output holds one object only."""
    with _orderly_end():
        try:
            settings = Settings()
            profile = profile or settings.profile
            document = build_document(pipeline, path, texts)
            check_names("--profile", profile, profiles.names())
            for name in refresh:
                check_names("--refresh", name, (*pass_names(), *pipeline.places))
            with own_prefect(settings.home):
                return run_here(pipeline, document, settings, profile, refresh, as_json)
        except (Exception, KeyboardInterrupt) as error:
            return _end(error, None, as_json)


@contextmanager
def _orderly_end() -> Generator[None]:
    """Let SIGTERM and Ctrl-C end a run alike: the job is told, Prefect's server stopped. Threads have no handlers, and
    a signal that the shell had ignored (Ctrl-C, for what runs in the background) stays ignored.

    SIGTERM to the whole group of processes, as systemd sends it, also ends the server, and the run may fail of that
    first.
    """
    _told_to_end.clear()

    def interrupt(number: int, frame: object) -> None:
        _told_to_end.set()
        raise KeyboardInterrupt

    kinds = (signal.SIGTERM, signal.SIGINT) if current_thread() is main_thread() else ()
    before = {kind: signal.signal(kind, interrupt) for kind in kinds if signal.getsignal(kind) is not signal.SIG_IGN}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def _insist(event: Progress) -> None:
    """An interrupt that comes in a finalizer or a library's callback is lost there; the next step repeats it."""
    if _told_to_end.is_set() and isinstance(event, PassStarted | PassStepped):
        raise KeyboardInterrupt


def check_names(field: str, value: str, known: Collection[str]) -> None:
    if value not in known:
        raise refused(field, value, "is not known", f"Allowed: {', '.join(known)}")


def run_here(pipeline: Pipeline, document: Document, settings: Settings, profile: str, refresh: tuple[str, ...],
             as_json: bool) -> int:
    """Run the flow in this process and watch it. Inside `own_prefect`: loading the flow loads prefect."""
    reader = settings.model_copy(update={"input_roots": (Path("/"),)})  # whoever types a command may read any path
    with (use(Services(settings=reader)), Watcher(Console(), quiet=as_json) as watcher, listening(watcher),
          listening(_insist)):
        error: BaseException | None = None
        try:
            pipeline.load()(document, profile=profile, refresh=refresh)
        except (Exception, KeyboardInterrupt) as caught:
            error = explained(caught, settings.home)
        return _end(error, watcher.job_id, as_json)


def _exit_code(error: BaseException | None) -> int:
    if error is None:
        return DONE
    failure = classify(error)
    if failure.kind == "cancelled" or _told_to_end.is_set():
        return INTERRUPTED
    return BAD_INPUT if failure.code == "permanent-input" or isinstance(error, SettingsError) else FAILED


def _end(error: BaseException | None, job_id: str | None, as_json: bool) -> int:
    """The last word: the JSON object, or the error in one line and how to go on. Returns the exit code."""
    code = _exit_code(error)
    if code == DONE and job_id and services().lineage.job(job_id).state == "needs_review":
        code = NEEDS_REVIEW
    if code == INTERRUPTED and current_thread() is main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not cut the ending short
    if error is not None and classify(error).kind == "unknown":
        traceback.print_exception(error)  # nobody foresaw it, so whoever mends it needs to see where it came from
    if as_json:
        report = run_report(lambda: services().lineage, job_id, error, ENDED[code])
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
        return code
    console = Console(stderr=True)
    if code == INTERRUPTED:
        console.print(f"Interrupted. Finished passes are kept; run the same document with --job-id {job_id} to go on."
                      if job_id else "Interrupted before the job was opened.", highlight=False, soft_wrap=True)
    elif code == NEEDS_REVIEW:
        console.print(Text("Needs review: the product in the picture is not the product any more, so it was not "
                           f"delivered. `backlot show {job_id}` says where; run it with --debug-mode true to see its "
                           "pictures.", style="yellow"), soft_wrap=True)
    elif error is not None:
        console.print(Text(f"{'Refused' if code == BAD_INPUT else 'Failed'}: {error}", style="red"), soft_wrap=True)
        if not hasattr(error, "remedy") and (remedy := REMEDIES.get(classify(error).code)):
            console.print(remedy, highlight=False, soft_wrap=True)
        if code == FAILED and job_id:
            console.print(f"Finished passes are kept; `backlot show {job_id}` tells more.", highlight=False,
                          soft_wrap=True)
    return code
