"""What every test stands on: no setting of the caller's shell leaks in, and one Prefect server for those who ask.

Nothing here loads torch or prefect until a test needs them.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

SCRATCH = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """Point Prefect and Backlot at a folder of this run's own, before any test module is imported.

    Prefect reads its settings once, at import, so a fixture would come too late. Under xdist each worker has its own.
    """
    scratch = Path(tempfile.mkdtemp(prefix="backlot-tests-"))
    config.stash[SCRATCH] = scratch
    for name in [name for name in os.environ if name.startswith(("PREFECT_", "BACKLOT_", "AWS_"))]:
        del os.environ[name]
    os.environ |= {
        "BACKLOT_HOME": str(scratch / "backlot"),
        "PREFECT_HOME": str(scratch / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_EC2_METADATA_DISABLED": "true",
        "HF_HUB_OFFLINE": "1",  # a test that reaches for the Hub fails at once instead of waiting for the network
    }
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background jobs are started so, and pass it on
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Test processes share the cores; more threads in each would only wait for one another.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(config.stash[SCRATCH], ignore_errors=True)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty BACKLOT_HOME of this test's own: database, artifacts and outputs land under it."""
    folder = tmp_path / "home"
    monkeypatch.setenv("BACKLOT_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def prefect_server() -> Generator[str]:
    """A real Prefect server on SQLite in a process of its own, for the whole session; its API address.

    In this process flows and tasks use it without more ado; a child process needs the address as PREFECT_API_URL. It
    takes 10 to 20 s to start, once in each xdist worker that runs a file asking for it. Heartbeats are off (no
    environment variable can say so), because each flow would wait up to 1 s for them to end.
    """
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    no_heartbeats = {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
    with prefect_test_harness(server_startup_timeout=120), temporary_settings(no_heartbeats):
        yield str(PREFECT_API_URL.value())
