"""A bucket is measured before it is first used (G37), and what was found lies in the bucket itself, for all workers.

Nothing in Backlot rests on what is missing (storage/probe.py says why), so a worker warns and goes on: also where it
may not measure, because its key is allowed no more than it needs.
"""

from __future__ import annotations

import json
import logging
import time
from typing import Any

from storage.errors import NoBucket, StorageError, StoreUnavailable
from storage.files import open_files, put_whole, read_whole
from storage.probe import PROBES, probe
from storage.s3_names import is_s3

RECORD = f"{PROBES}/measured.json"
"""Its name below the store's root."""
AGAIN_SECONDS = 30 * 24 * 3600
"""Servers are upgraded and keys' rights changed."""

log = logging.getLogger(__name__)


def shortcomings(url: str, setting: str, *, s3_endpoint_url: str | None = None) -> tuple[str, ...]:
    """What the bucket at `url` cannot do, each in one line; () for a folder. One request where somebody has measured it
    within 30 days, else ten, whose answers are logged. Raises StoreUnavailable where nobody answers, NoBucket."""
    if not is_s3(url):
        return ()
    try:
        fs, root = open_files(url, setting, s3_endpoint_url=s3_endpoint_url)
        known = _recorded(fs, f"{root}/{RECORD}")
        return _measure(fs, root, url, setting, s3_endpoint_url) if known is None else known
    except (StoreUnavailable, NoBucket):
        raise
    except (StorageError, OSError) as error:
        return (f"{setting} could not be measured: {error}",)


def must_be_there(url: str, setting: str, *, s3_endpoint_url: str | None = None) -> None:
    """One request, so that a bucket that is not there is missed before anything is computed and not behind it. Raises
    StoreUnavailable or NoBucket. What the key may do there is not asked: a publisher need not read."""
    if not is_s3(url):
        return
    fs, root = open_files(url, setting, s3_endpoint_url=s3_endpoint_url)
    try:
        _recorded(fs, f"{root}/{RECORD}")
    except (StoreUnavailable, NoBucket):
        raise
    except StorageError as error:
        log.info("%s was not read: %s", url, error)


def _recorded(fs: Any, path: str) -> tuple[str, ...] | None:
    try:
        record = json.loads(read_whole(fs, path))
        fresh = 0 <= time.time() - float(record["at"]) < AGAIN_SECONDS
        return tuple(str(line) for line in record["missing"]) if fresh else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):  # never measured, or no record of ours
        return None


def _measure(fs: Any, root: str, url: str, setting: str, s3_endpoint_url: str | None) -> tuple[str, ...]:
    found = probe(url, setting, s3_endpoint_url=s3_endpoint_url)
    for one in found.capabilities:
        log.log(logging.INFO if one.ok else logging.WARNING, "%s: %s: %s", url, one.name, one.why)
    missing = tuple(f"{setting}: {one.why}" for one in found.capabilities if not one.ok)
    put_whole(fs, f"{root}/{RECORD}", json.dumps({
        "at": time.time(), "missing": missing,
        "capabilities": {one.name: one.ok for one in found.capabilities}}, indent=1).encode())
    return missing
