"""What the checker can find: a closed table of kinds, each with what it means and what heals it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "missing", "damaged", "wrong_size", "wrong_facts", "orphan", "stray", "stale_draft", "no_outputs", "overdue",
    "endless_lease", "twice", "dangling", "wrong_key", "wrong_lineage", "unfinished", "no_passes", "undelivered",
    "other_delivery", "unreachable", "broken_database", "quarantined", "trashed", "declared_lost", "idle_job"]


@dataclass(frozen=True, kw_only=True)
class KindFacts:
    """means: in one line, of what `where` names. remedy: what a person can do. healed: what `--repair` does about it,
    empty where it can do nothing. fault: False for what is only told."""

    means: str
    remedy: str
    healed: str = ""
    fault: bool = True


_RESTORE = "Restore a backup of the database, and report this as a bug"
_REPAIR = "Run `backlot verify --repair`"

KINDS: Mapping[Kind, KindFacts] = {
    "missing": KindFacts(
        means="a row names bytes that are not in the store", remedy=_REPAIR,
        healed="put back from an intact copy, else declared lost, so that the next run makes it anew"),
    "damaged": KindFacts(
        means="stored bytes are not what their name says", remedy=_REPAIR,
        healed="moved to quarantine, then as missing"),
    "wrong_size": KindFacts(
        means="a row and the store disagree about a size", remedy=_REPAIR,
        healed="the row corrected from intact bytes; else as damaged"),
    "wrong_facts": KindFacts(
        means="a row says another media type, width or height than the picture has", remedy=_REPAIR,
        healed="the row corrected from the picture"),
    "orphan": KindFacts(
        means="bytes that no row names, older than the grace", remedy=_REPAIR,
        healed="moved to trash, unless a row names them by then; left while a job runs"),
    "stray": KindFacts(
        means="a file in the store's folder that is not the store's", remedy="Move it elsewhere by hand"),
    "stale_draft": KindFacts(
        means="a half-written file, older than the grace", remedy=_REPAIR,
        healed="removed, if it is no whole copy of anything that is not stored; else moved to trash"),
    "no_outputs": KindFacts(
        means="an execution succeeded and made nothing", remedy=_REPAIR,
        healed="declared lost, so that the next run makes it anew"),
    "overdue": KindFacts(
        means="an execution runs under a lease that is long over", remedy=_REPAIR,
        healed="failed as lease_expired; the next run claims its key"),
    "endless_lease": KindFacts(
        means="an execution holds a lease that ends later than any can, and nobody else may compute its key",
        remedy=_REPAIR, healed="its lease ends in ten minutes; a worker that lives renews it before"),
    "twice": KindFacts(means="two executions succeeded for one key and generation", remedy=_RESTORE),
    "dangling": KindFacts(means="a row refers to a row that is not there", remedy=_RESTORE),
    "wrong_key": KindFacts(means="the parts stored for a key do not hash to it", remedy=_RESTORE),
    "wrong_lineage": KindFacts(
        means="an execution's rows name another pass, version, input or weights than its key was made of",
        remedy=_RESTORE),
    "unfinished": KindFacts(
        means="a job is completed and delivered no final picture", remedy=_REPAIR,
        healed="set to interrupted: the same document again resumes it"),
    "no_passes": KindFacts(
        means="a job's pictures are all made and nothing says what they rest on", remedy=_REPAIR,
        healed="set to interrupted: the same document again records it, and reuses what was made"),
    "undelivered": KindFacts(
        means="a delivered file is not where it was delivered", remedy=_REPAIR,
        healed="delivered again from the store"),
    "other_delivery": KindFacts(
        means="a delivered file holds another picture than its row says", remedy=_REPAIR,
        healed="delivered again from the store; what lay there is kept in the store's trash"),
    "unreachable": KindFacts(
        means="nobody can look where a picture was delivered: the bucket or folder is gone or closed to this process",
        remedy="Open it again; or, if it is given up, run the job again: it delivers to where outputs_url points now"),
    "broken_database": KindFacts(means="the database file is damaged", remedy=_RESTORE),
    "quarantined": KindFacts(
        means="damaged bytes set aside earlier", fault=False,
        remedy="Look why (a dying disk?), then delete them by hand"),
    "trashed": KindFacts(
        means="bytes moved to trash by an earlier repair", fault=False, remedy="Delete them by hand when sure"),
    "declared_lost": KindFacts(
        means="bytes that are gone and known to be", fault=False, remedy="Run its job again where it is wanted"),
    "idle_job": KindFacts(
        means="a job is running and nobody holds a lease of it: it was cut short, or is between two passes",
        fault=False, remedy="Run the same document with the same job_id to go on"),
}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """where: a digest, path, uri, job or execution, as the kind wants; what: this very case in one line.

    subject: what a repair must know beyond `where` (a job's role, a digest), for programs.
    """

    kind: Kind
    where: str
    what: str
    subject: tuple[str, ...] = ()

    @property
    def fault(self) -> bool:
        return KINDS[self.kind].fault

    @property
    def repairable(self) -> bool:
        return bool(KINDS[self.kind].healed)

    @property
    def remedy(self) -> str:
        return KINDS[self.kind].remedy
