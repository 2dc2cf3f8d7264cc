"""Prefect's surroundings when Backlot starts it in its own process: a home of our own, no telemetry, no heartbeat."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from storage.settings import make_folder


class PrefectUnavailableError(Exception):
    """No Prefect server could be started or reached."""

    def __init__(self, message: str, *, field: str, value: str, remedy: str) -> None:
        super().__init__(f"{field}={value!r}: {message}. {remedy}")
        self.field, self.value, self.remedy, self.message = field, value, remedy, message

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), self.message, field=self.field, value=self.value, remedy=self.remedy), ()


def explained(error: BaseException, home: Path) -> BaseException:
    """`error`, or where it says in Prefect's words that there is no server, what to do about it."""
    if "ephemeral Prefect API server" in str(error):
        return PrefectUnavailableError(
            "Prefect's embedded server did not start", field="BACKLOT_HOME", value=str(home),
            remedy=f"Should {home / 'prefect'} be damaged, delete it: it holds only Prefect's own history")
    if "Failed to reach API" in str(error):
        return PrefectUnavailableError(
            "no Prefect server answers there", field="PREFECT_API_URL", value=os.environ.get("PREFECT_API_URL", ""),
            remedy="Start it with `prefect server start`, or unset the variable to use the embedded one")
    return error


@contextmanager
def own_prefect(home: Path) -> Generator[None]:
    """Run the block with Prefect's embedded server under `home`/prefect, or with the server PREFECT_API_URL names.

    Must be entered before anything imports prefect: its settings are read once. Heartbeats are off because a flow that
    runs in this very process needs none, and each costs up to a second at the flow's end (measured with 3.9.1,
    2026-11-20: an empty flow took 1.1 s, 0.085 s without).
    """
    folder = home / "prefect"
    make_folder(home)
    make_folder(folder)  # Prefect makes its home, but not the folder above it
    os.environ |= {
        "PREFECT_HOME": str(folder), "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",  # "still processing items" at the end of every short run
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # a fresh home takes 10 to 20 s to migrate
    }
    for name in ("PREFECT_LOGGING_LEVEL", "PREFECT_SERVER_LOGGING_LEVEL"):
        os.environ.setdefault(name, "CRITICAL")  # our own lines say what happens, and errors once
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield
