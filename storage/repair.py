"""Healing what the checker found. Never deletes the last good copy of anything.

Damaged bytes go to quarantine and bytes that nobody names to trash; both are moved, and for a person to delete. The
one thing that is removed is a draft, and only once the bytes it could have become are proved to be stored. Each case
is looked at again before anything is done: a report may be old, and workers go on. Stopped halfway, run it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select, update

from storage.artifacts import ArtifactStore
from storage.database import Database, reads, writes
from storage.dialect import now
from storage.digests import sha256_hex
from storage.errors import ArtifactCorrupt, ArtifactMissing, DatabaseUnavailable, StorageError, StoreUnavailable
from storage.files import NotPlain, put_whole
from storage.findings import Finding, Kind
from storage.ledger import Ledger
from storage.lineage import Lineage
from storage.png import stamped_digest, unstamped
from storage.records import Artifact
from storage.rows import ARTIFACT, to_artifact
from storage.settings import Settings
from storage.tables import artifact as artifacts
from storage.tables import job_output, mask_override, pass_execution, pass_output
from storage.verify_files import Tree, picture_facts
from storage.verify_rows import LONG_OVER_SECONDS, LONGEST_LEASE_SECONDS, at_work

Redeliver = Callable[[str, str, Artifact], str]
"""redeliver(job_id, role, artifact): publish it as the job did, stamp and row; the uri."""


@dataclass(frozen=True, kw_only=True)
class Repaired:
    """done: what was done about the finding, in a clause; healed: the checker will not find it again."""

    finding: Finding
    done: str
    healed: bool


def repair(findings: Iterable[Finding], database: Database, settings: Settings,
           redeliver: Redeliver) -> Iterator[Repaired]:
    """Heal one finding after the other: rows that claim too much, then bytes, then what is delivered from them.

    One that fails is told and keeps no other from being healed. StoreUnavailable and DatabaseUnavailable are raised:
    every other one would fail by them too.
    """
    healer = _Healer(database, settings, redeliver)
    repairable = [finding for finding in findings if finding.repairable]
    for kind, heal in healer.by_kind.items():
        for finding in repairable:
            if finding.kind == kind:
                done, healed = _tried(heal, finding)
                yield Repaired(finding=finding, done=done, healed=healed)


_Done = tuple[str, bool]
_MOVED_ON = ("it has moved on by itself", True)


def _tried(heal: Callable[[Finding], _Done], finding: Finding) -> _Done:
    try:
        return heal(finding)
    except (StoreUnavailable, DatabaseUnavailable):
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:300]
        return f"it failed ({type(error).__name__}: {said})", False


class _Healer:
    """by_kind: how each kind is healed, in the order in which they are: rows, bytes, what is delivered from them."""

    def __init__(self, database: Database, settings: Settings, redeliver: Redeliver) -> None:
        self._database = database
        self._ledger = Ledger(database)
        self._lineage = Lineage(database)
        self._redeliver = redeliver
        self._endpoint = settings.s3_endpoint_url
        self._store = ArtifactStore(settings.artifacts_url, s3_endpoint_url=self._endpoint)
        self._tree = Tree.open(settings.artifacts_url, "artifacts_url", self._endpoint)
        self._outputs = Tree.open(settings.outputs_url, "outputs_url", self._endpoint)
        self.by_kind: Mapping[Kind, Callable[[Finding], _Done]] = {
            "overdue": self._end, "endless_lease": self._shorten, "no_outputs": self._declare_lost,
            "unfinished": self._interrupt, "no_passes": self._interrupt,
            "wrong_size": self._correct, "wrong_facts": self._correct, "damaged": self._restore,
            "missing": self._restore, "stale_draft": self._drop, "orphan": self._to_trash,
            "undelivered": self._deliver, "other_delivery": self._deliver}

    # Rows

    @writes
    def _end(self, connection: Connection, finding: Finding) -> _Done:
        ended = connection.execute(update(pass_execution).where(
            pass_execution.c.exec_id == finding.where, pass_execution.c.state == "running",
            pass_execution.c.lease_until < now() - LONG_OVER_SECONDS).values(
                state="failed", lease_until=None, ended_at=now(), failure_class="lease_expired",
                failure_message="its worker did not renew the lease; ended by backlot verify --repair")).rowcount
        return ("failed as lease_expired", True) if ended else _MOVED_ON

    @writes
    def _shorten(self, connection: Connection, finding: Finding) -> _Done:
        """Not ended: its worker may live, and then it renews the lease at a third of it and goes on. Only one whose
        BACKLOT_LEASE_SECONDS is more than three times this may come too late, if another claims the key before."""
        shortened = connection.execute(update(pass_execution).where(
            pass_execution.c.exec_id == finding.where, pass_execution.c.state == "running",
            pass_execution.c.lease_until > now() + LONGEST_LEASE_SECONDS).values(
                lease_until=now() + LONG_OVER_SECONDS)).rowcount
        done = f"its lease ends in {LONG_OVER_SECONDS} s, unless its worker lives and renews it"
        return (done, True) if shortened else _MOVED_ON

    @writes
    def _declare_lost(self, connection: Connection, finding: Finding) -> _Done:
        made = select(pass_output.c.exec_id).where(pass_output.c.exec_id == finding.where).exists()
        connection.execute(update(pass_execution).where(
            pass_execution.c.exec_id == finding.where, pass_execution.c.state == "succeeded", ~made
        ).values(state="lost"))
        return "declared lost", True

    def _interrupt(self, finding: Finding) -> _Done:
        self._ledger.close_job(finding.where, "interrupted", {
            "class": "repair", "message": f"it had ended well, but {finding.what}; set so by backlot verify --repair",
            "remedy": finding.remedy})
        return "set to interrupted", True

    def _correct(self, finding: Finding) -> _Done:
        digest = finding.where
        if (data := self._intact(digest)) is None:
            return self._restore(finding)
        values: dict[str, Any] = {"bytes": len(data)}
        if (true := picture_facts(data)) is not None:
            values |= zip(("media_type", "width", "height"), true, strict=True)
        self._say(digest, values)
        return "row corrected", True

    @writes
    def _say(self, connection: Connection, digest: str, values: Mapping[str, Any]) -> None:
        connection.execute(update(artifacts).where(artifacts.c.digest == digest).values(**values))

    @reads
    def _row(self, connection: Connection, digest: str) -> Artifact | None:
        row = connection.execute(select(*ARTIFACT).where(artifacts.c.digest == digest)).one_or_none()
        return None if row is None else to_artifact(row)

    @reads
    def _made(self, connection: Connection, digest: str) -> bool:
        """Did an execution make it? Else it is a photo or a mask."""
        return connection.execute(
            select(pass_output.c.digest).where(pass_output.c.digest == digest).limit(1)).first() is not None

    @reads
    def _is_mask(self, connection: Connection, digest: str) -> bool:
        return connection.execute(select(mask_override.c.version).where(
            mask_override.c.mask_digest == digest).limit(1)).first() is not None

    @reads
    def _delivered(self, connection: Connection, digest: str) -> list[str]:
        """Where it was ever delivered to."""
        return list(connection.execute(select(job_output.c.uri).where(job_output.c.digest == digest)).scalars())

    @reads
    def _at_work(self, connection: Connection) -> str | None:
        return at_work(connection)

    # Bytes

    def _intact(self, digest: str) -> bytes | None:
        """The bytes, if they are whole. Damaged ones the store moves to quarantine when it reads them."""
        try:
            return self._store.get(digest)
        except (ArtifactMissing, ArtifactCorrupt):
            return None

    def _restore(self, finding: Finding) -> _Done:
        digest = finding.where
        if self._intact(digest) is not None:
            return "it is whole by now", True
        moved = "" if finding.kind == "missing" else "moved to quarantine; "
        row = self._row(digest)
        if row is None:
            return f"{moved}no row names it", True
        if (copy := self._copy_of(digest)) is not None:
            where, data = copy
            self._store.put(data, media_type=row.media_type, width=row.width, height=row.height)
            return f"{moved}put back from {where}", True
        self._ledger.lose(digest)
        if self._made(digest):
            return f"{moved}declared lost: the next run makes it anew", True
        if self._is_mask(digest):
            return f"{moved}no copy of this mask is left: set it again, or remove it", False
        return f"{moved}no copy of this photo is left: it is read anew when its job runs again", False

    def _copy_of(self, digest: str) -> tuple[str, bytes] | None:
        """An intact copy: set aside by mistake, in a draft, or in what was delivered."""
        set_aside = [*self._tree.files("quarantine"), *self._tree.files("trash"),
                     *self._tree.files("sha256", digest[:2])]
        for name in set_aside:
            if digest in name and (data := _bytes(self._tree, name)) is not None and sha256_hex(data) == digest:
                return name, data
        for uri in self._delivered(digest):
            data = self._file_within_reach(uri)
            stored = None if data is None else unstamped(data) or data
            if stored is not None and sha256_hex(stored) == digest:
                return uri, stored
        return None

    def _file(self, uri: str) -> bytes | None:
        folder, _, name = uri.rpartition("/")
        return _bytes(Tree.open(folder, "outputs_url", self._endpoint), name)

    def _file_within_reach(self, uri: str) -> bytes | None:
        """None also where nobody can look: another copy may lie where one can."""
        try:
            return self._file(uri)
        except StoreUnavailable:
            raise
        except (StorageError, OSError):
            return None

    def _drop(self, finding: Finding) -> _Done:
        tree = self._tree if finding.subject == ("artifacts",) else self._outputs
        if (data := _bytes(tree, finding.where)) is None:
            return "it is gone by now", True
        picture = unstamped(data) or data
        named = finding.where.rpartition("/")[2].partition(".")[0] if tree is self._tree else stamped_digest(data)
        only_copy = sha256_hex(picture) == named and self._intact(named) is None
        if only_copy:
            self._keep(picture)
        tree.fs.rm_file(tree.path(finding.where))
        return ("moved to trash: it is a whole copy of what is not stored" if only_copy else "removed"), True

    def _keep(self, data: bytes) -> None:
        """Lay a copy into the trash, and see it there."""
        name = f"trash/{sha256_hex(data)}"
        put_whole(self._tree.fs, self._tree.path(name), data)
        if self._tree.read(name) != data:
            raise OSError(f"{self._tree.path(name)} does not hold what was just written there")

    def _to_trash(self, finding: Finding) -> _Done:
        digest = finding.where
        if (who := self._at_work()) is not None:
            return f"left: {who}", False
        if self._row(digest) is not None:
            return "a row names it by now", True
        if (data := self._intact(digest)) is None:
            return "moved to quarantine: it was damaged", True
        self._keep(data)
        name = f"sha256/{digest[:2]}/{digest}"
        self._tree.fs.rm_file(self._tree.path(name))
        if (why := self._wanted(digest)) is None:
            return "moved to trash", True
        put_whole(self._tree.fs, self._tree.path(name), data)
        return why

    def _wanted(self, digest: str) -> _Done | None:
        """Asked once the bytes are gone. Whoever found them before, and so did not put them, is at work still or has
        named them by now: asked in this order, because a job may name them and end between the two questions. Whoever
        comes later finds nothing and puts them anew."""
        who = self._at_work()
        if self._row(digest) is not None:
            return "put back: a row names it by now", True
        return None if who is None else (f"put back: {who}", False)

    # Deliveries

    def _deliver(self, finding: Finding) -> _Done:
        job_id, role, digest = finding.subject
        latest = {name: artifact.digest for name, artifact, _ in self._lineage.outputs(job_id)}
        if latest.get(role) != digest:
            return "another picture was delivered there since", True
        row = self._row(digest)
        if row is None or self._intact(digest) is None:
            return "left: its picture is not in the store; run the job again", False
        if finding.kind == "other_delivery" and (data := self._file(finding.where)) is not None:
            self._keep(data)
        self._redeliver(job_id, role, row)
        return "delivered again", True


def _bytes(tree: Tree, name: str) -> bytes | None:
    try:
        return tree.read(name)
    except (FileNotFoundError, NotPlain):
        return None
