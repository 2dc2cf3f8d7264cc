"""Keeping claimed executions ours while a long pass computes: a thread renews them, at a third of their lease."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from threading import Event, Lock, Thread

from storage.errors import FencedOff
from storage.ledger import Ledger
from storage.records import Claim

log = logging.getLogger(__name__)


class LeaseKeeper:
    """Renews the claims it holds until they are released.

    The thread starts with the first claim, so a request that is a hit costs none. The lock guards the two collections;
    it is never held over a database call.
    """

    def __init__(self, ledger: Ledger, lease_seconds: int) -> None:
        self._ledger = ledger
        self._lease_seconds = lease_seconds
        self._held: dict[str, Claim] = {}
        self._lost: set[str] = set()
        self._lock = Lock()
        self._stop = Event()
        self._thread: Thread | None = None

    def __enter__(self) -> LeaseKeeper:
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    @property
    def held(self) -> tuple[Claim, ...]:
        with self._lock:
            return tuple(self._held.values())

    def hold(self, claim: Claim) -> None:
        with self._lock:
            self._held[claim.exec_id] = claim
        if self._thread is None:
            self._thread = Thread(target=self._renew, name="backlot-leases", daemon=True)
            self._thread.start()

    def release(self, claim: Claim) -> None:
        with self._lock:
            self._held.pop(claim.exec_id, None)

    def check_any(self, claims: Sequence[Claim]) -> None:
        """Raises FencedOff where every one of them was taken over: then what they are computed for is for nothing."""
        with self._lock:
            lost = [claim for claim in claims if claim.exec_id in self._lost]
        if len(lost) == len(claims):
            raise FencedOff(lost[0].exec_id)

    def _renew(self) -> None:
        while not self._stop.wait(self._lease_seconds / 3):
            for claim in self.held:
                self._renew_one(claim)

    def _renew_one(self, claim: Claim) -> None:
        try:
            self._ledger.renew(claim, self._lease_seconds)
        except FencedOff:
            with self._lock:
                self._held.pop(claim.exec_id, None)
                self._lost.add(claim.exec_id)
        except Exception:  # a busy database must not end the renewals: two more tries come before the lease does
            log.warning("could not renew the lease of execution %s; trying again", claim.exec_id, exc_info=True)
