"""The ledger: every fact that is written, and nothing else. Questions are storage.lineage's."""

from __future__ import annotations

from storage.claims import ExecutionFacts
from storage.jobs import JobFacts


class Ledger(JobFacts, ExecutionFacts):
    """Facts about jobs and about executions, on one database. Each call is one transaction, safe for many threads and
    processes; after a failure whose outcome is unknown it may simply be made again."""
