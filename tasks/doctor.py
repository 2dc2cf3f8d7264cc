"""The doctor: everything that a run rests on, asked at once, each thing answered by ok or by what to do."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from storage.errors import SettingsError
from storage.settings import Settings
from tasks.diagnosis import Check, Line, asked, broken, ok, warning
from tasks.doctor_machine import disk, gpu, python, versions
from tasks.doctor_places import database, inputs, integrity, store
from tasks.doctor_prefect import prefect
from tasks.doctor_weights import weights

HASHING_SECONDS = 3600.0
"""For --full: about 1 s a GB of weights, more from a slow disk."""


def diagnose(*, profile: str | None = None, full: bool = False) -> Iterator[Line]:
    """The lines, in order, as they are known. profile: whose weights to look at, else the settings'. full: hash them.

    Never raises and never waits long: 5 s for what answers over a network, 60 s for what computes (all at the same
    time), only `full` for as long as it takes. Nothing is changed but for one small object written to each store and
    deleted again.
    """
    try:
        settings = Settings()
    except SettingsError as error:
        yield broken("settings", error)
        yield from asked([Check(about="python", ask=python), Check(about="versions", ask=versions),
                          Check(about="gpu", ask=partial(gpu, "auto"), seconds=60),
                          Check(about="prefect", ask=prefect, seconds=20)])
        yield warning("the rest", "weights, database, stores, inputs and disk were not looked at",
                      "Mend the settings, then ask again")
        return
    yield _told(settings)
    yield from asked([
        Check(about="python", ask=python),
        Check(about="versions", ask=versions),
        Check(about="gpu", ask=partial(gpu, settings.device), seconds=60),
        Check(about="weights", ask=partial(weights, settings, profile or settings.profile, full=full),
              seconds=HASHING_SECONDS if full else 20),
        Check(about="database", ask=partial(database, settings)),
        Check(about="integrity", ask=partial(integrity, settings), seconds=60),
        Check(about="artifacts", ask=partial(store, settings, "artifacts_url")),
        Check(about="outputs", ask=partial(store, settings, "outputs_url")),
        Check(about="inputs", ask=partial(inputs, settings)),
        Check(about="disk", ask=partial(disk, settings)),
        Check(about="prefect", ask=prefect, seconds=20),
    ])


def _told(settings: Settings) -> Line:
    """Which settings are set, by name: a value may hold a password."""
    names = ", ".join(f"BACKLOT_{name.upper()}" for name in sorted(settings.model_fields_set)) or "none, all defaults"
    return ok("settings", f"home {settings.home}, profile {settings.profile}; set: {names}")
