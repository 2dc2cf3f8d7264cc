"""What `backlot run` prints while it runs, from events made by hand."""

import io
from typing import Any

import pytest
from rich.console import Console

from flows.console import Watcher
from tasks.progress import Event, JobOpened, PassEnded, PassStarted, PassStepped, PassWaits, Published, Warned

MARKUP = "a [draft] of [/x] and [bold]tea[/bold] :coffee:"
"""Text that a user may write and rich would take for its own; "[/x]" closes nothing, which rich refuses."""


def watched(*events: Event, quiet: bool = False, terminal: bool = False) -> tuple[Watcher, str]:
    """The watcher after these events, and what it printed, each run of blanks as one."""
    out = io.StringIO()
    with Watcher(Console(file=out, width=160, force_terminal=terminal), quiet=quiet) as watcher:
        for event in events:
            watcher(event)
    return watcher, "\n".join(" ".join(line.split()) for line in out.getvalue().splitlines())


def said(*events: Event) -> str:
    return watched(*events)[1]


def opened(**fields: Any) -> JobOpened:
    return JobOpened(**{"job_id": "job-2", "pipeline": "omni-bg", "profile": "tiny", "resumed": False, **fields})


def ended(disposition: Any = "executed", **fields: Any) -> PassEnded:
    return PassEnded(**{"job_id": "job-2", "at": "first", "pass_name": "render", "disposition": disposition,
                        "seconds": 12.345, "model_calls": 0, "reason": "new", **fields})


def test_a_job_is_announced_with_its_pipeline_and_profile_and_remembered() -> None:
    watcher, printed = watched(opened())
    assert printed == "omni-bg job job-2, profile tiny"
    assert watcher.job_id == "job-2"


def test_before_a_job_is_opened_there_is_no_id() -> None:
    assert watched()[0].job_id is None


def test_a_resumed_job_says_that_its_document_is_the_earlier_one() -> None:
    assert said(opened(resumed=True)) == (
        "omni-bg job job-2, profile tiny (opened before: what was resolved then counts)")


@pytest.mark.parametrize(("event", "line"), [
    (ended(), "first executed 12.35 s"),
    (ended(model_calls=1), "first executed 12.35 s 1 model call"),
    (ended(model_calls=20), "first executed 12.35 s 20 model calls"),
    (ended("reused", seconds=0.5, model_calls=20, from_job="job-1"), "first reused 0.50 s from job-1"),
    (ended("skipped", seconds=0.0, reason="refine is off"), "first skipped refine is off"),
], ids=["executed", "one call", "twenty calls", "reused", "skipped"])
def test_a_pass_is_one_line(event: PassEnded, line: str) -> None:
    assert said(event).replace("12.34 s", "12.35 s") == line  # 12.345 has no exact half


def test_the_notes_of_a_pass_follow_it_and_a_warning_stands_alone() -> None:
    printed = said(Warned(job_id="job-2", text="the photo is small"), ended(notes=("tiled in 4", "seam at 512")))
    lines = printed.splitlines()
    assert lines[0] == "note the photo is small"
    assert lines[1].startswith("first executed")
    assert lines[2:] == ["note tiled in 4", "note seam at 512"]


def test_a_wait_for_another_worker_says_how_long_it_can_last() -> None:
    printed = said(PassWaits(job_id="job-2", at="first", seconds_left=41))
    assert printed.startswith("first waits another worker is at it")
    assert printed.endswith("taken over in 41 s")


def test_a_delivered_picture_is_printed_with_its_uri_in_one_line_however_long() -> None:
    uri = f"s3://bucket/{'folder/' * 40}final.png"
    assert said(Published(job_id="job-2", role="final", uri=uri)) == f"final {uri}"


STORY = (opened(), Warned(job_id="job-2", text="small"), PassWaits(job_id="job-2", at="first", seconds_left=4),
         PassStarted(job_id="job-2", at="first", pass_name="render"),
         PassStepped(job_id="job-2", at="first", done=1, total=4), ended(notes=("tiled",)),
         Published(job_id="job-2", role="final", uri="s3://out/a.png"))


@pytest.mark.parametrize("terminal", [False, True])
def test_quiet_prints_nothing_and_remembers_the_job_all_the_same(terminal: bool) -> None:
    watcher, printed = watched(*STORY, quiet=True, terminal=terminal)
    assert printed == ""
    assert watcher.job_id == "job-2"


def test_away_from_a_terminal_there_is_no_bar_and_no_escape_code() -> None:
    printed = said(*STORY)
    assert len(printed.splitlines()) == 6
    assert "1/4" not in printed
    assert "\x1b" not in printed


def test_on_a_terminal_a_bar_counts_the_model_calls_of_the_pass_that_runs() -> None:
    out = io.StringIO()
    watcher = Watcher(Console(file=out, width=160, force_terminal=True), quiet=False)
    with watcher:
        for event in STORY[:5]:
            watcher(event)
    assert "1/4" in out.getvalue()


@pytest.mark.parametrize("event", [
    Warned(job_id="job-2", text=MARKUP),
    ended(notes=(MARKUP,)),
    ended("skipped", reason=MARKUP),
    Published(job_id="job-2", role="final", uri=MARKUP),
    opened(job_id=MARKUP),
    ended("reused", from_job=MARKUP),
], ids=["warning", "note", "reason", "uri", "job id", "the job it is reused from"])
def test_what_a_user_wrote_is_printed_letter_by_letter(event: Event) -> None:
    assert MARKUP in said(event)
