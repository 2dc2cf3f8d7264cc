"""Prefect's surroundings when Backlot starts it in its own process: a home of our own, no telemetry, no heartbeat."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def own_prefect(home: Path) -> Generator[None]:
    """Run the block with Prefect's embedded server under `home`/prefect, or with the server PREFECT_API_URL names.

    Must be entered before anything imports prefect: its settings are read once. Heartbeats are off because a flow that
    runs in this very process needs none, and each costs up to a second at the flow's end (measured with 3.9.1,
    2026-11-20: an empty flow took 1.1 s, 0.085 s without).
    """
    folder = home / "prefect"
    folder.mkdir(parents=True, exist_ok=True)  # Prefect makes its home, but not the folder above it
    os.environ |= {
        "PREFECT_HOME": str(folder), "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # a fresh home takes 10 to 20 s to migrate
    }
    for name in ("PREFECT_LOGGING_LEVEL", "PREFECT_SERVER_LOGGING_LEVEL"):
        os.environ.setdefault(name, "CRITICAL")  # our own lines say what happens, and errors once
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield
