"""What an operator does with model files: see whose they are, fetch, verify and pin them. Nothing here loads torch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from models.alone import alone
from models.errors import InputError
from models.licences import check_production, restrictions
from models.missing import size_words
from models.profiles import PROFILES, Profile, WeightFile, profile
from models.pull import Plan, Wanted, Watch, carry_out, plan
from models.weights import Checked, Pin, check_all, download_command, pin
from models.weights_lock import commit_of, in_repo, read
from storage.settings import Settings

__all__ = ["Checked", "Plan", "PullWatch", "Wanted", "WeightRow", "bytes_here",
           "licence_rows", "pin_weights", "pull", "size_words", "verify", "weight_rows"]


@dataclass(frozen=True, kw_only=True)
class WeightRow:
    """One repository of a profile, as people want to see it before they download.

    files: how many the profile reads; here, pinned: how many of them lie here, have an entry in the lock. commit: what
    the lock, or the table, says they are; None where nobody knows yet. asks: what the licence asks, in short.
    """

    roles: str
    repo: str
    licence: str
    commercial_use: str
    licence_from: str
    asks: str
    gigabytes: float
    files: int
    here: int
    pinned: int
    commit: str | None
    command: str


class PullWatch(Watch, Protocol):
    """Told the plan first, then each file."""

    def planned(self, plan: Plan) -> None: ...


def pull(settings: Settings, name: str, watch: PullWatch, *, only: Collection[str] = (),
         repin: Collection[str] = ()) -> Plan:
    """Fetch what the profile lacks, verify and pin it; what was done. only: these roles; none given: all.

    repin: repositories to take anew at their newest commit. Raises InputError for an unknown role or repository,
    WeightsError for everything that stands in the way.
    """
    from models.hub import Hub  # a client of HTTP, which the other commands can do without

    files = _asked(profile(name), only, repin, read(settings.weights_dir))
    if settings.production:
        check_production(files, settings.licences_held)
    with alone(settings.weights_dir):
        hub = Hub(settings.hub_url)
        planned = plan(files, settings.weights_dir, hub, repin=repin)
        watch.planned(planned)
        carry_out(planned, settings.weights_dir, hub, watch)
    return planned


def _asked(chosen: Profile, only: Collection[str], repin: Collection[str], lock: Collection[str]) -> list[WeightFile]:
    """The files of the roles; of a repository that is repinned also all others in the lock: they change together."""
    for role in only:
        if role not in chosen.models:
            raise InputError(f"the profile {chosen.name} has no such role", field="--only", value=role,
                             remedy=f"Roles: {', '.join(chosen.models)}")
    for repo in repin:
        if repo not in {file.repo for file in chosen.files}:
            raise InputError(f"the profile {chosen.name} reads nothing of it", field="--repin", value=repo,
                             remedy=f"Repositories: {', '.join(dict.fromkeys(file.repo for file in chosen.files))}")
    files = {file.key: file for role, spec in chosen.models.items() if not only or role in only for file in spec.files}
    files |= {file.key: file for other in PROFILES.values() for file in other.files
              if file.repo in repin and file.key in lock}
    return list(files.values())


def verify(settings: Settings, name: str, arrived: Callable[[int], None]) -> Iterator[Checked]:
    """Hash the profile's files again, each as it is known."""
    return check_all(profile(name), settings.weights_dir, arrived)


def bytes_here(settings: Settings, name: str) -> int:
    """Bytes of the profile's files on this machine."""
    return sum(path.stat().st_size for file in profile(name).files
               if (path := settings.weights_dir / file.key).is_file())


def pin_weights(settings: Settings, name: str) -> Path:
    if profile(name).is_tiny:
        raise InputError("its weights are drawn in memory, so there is nothing to pin", field="profile", value=name,
                         remedy="Pin a profile of real files: sdxl")
    return pin(profile(name), settings.weights_dir)


def weight_rows(settings: Settings, name: str) -> list[WeightRow]:
    """The profile's repositories; empty for tiny, which downloads nothing."""
    chosen, lock = profile(name), read(settings.weights_dir)
    return [_row(settings, chosen, repo, lock) for repo in dict.fromkeys(file.repo for file in chosen.files)]


def licence_rows(settings: Settings, name: str | None) -> list[WeightRow]:
    """The repositories of a profile, or, without a name, of all of them, each once."""
    rows = [row for one in ((name,) if name else PROFILES) for row in weight_rows(settings, one)]
    return list({row.repo: row for row in rows}.values())


def _row(settings: Settings, chosen: Profile, repo: str, lock: dict[str, Pin]) -> WeightRow:
    files: Sequence[WeightFile] = [file for file in chosen.files if file.repo == repo]
    first = files[0]
    roles = [role for role, spec in chosen.models.items() if any(file.repo == repo for file in spec.files)]
    return WeightRow(
        roles=", ".join(roles), repo=repo, licence=first.licence, commercial_use=first.commercial_use,
        licence_from=first.licence_from, asks=restrictions(first),
        gigabytes=sum(file.size_bytes or 0 for file in files) / 1e9, files=len(files),
        here=sum((settings.weights_dir / file.key).is_file() for file in files),
        pinned=sum(file.key in lock for file in files),
        commit=first.revision or commit_of({key: pin for key, pin in lock.items() if in_repo(key, repo)}, repo),
        command=download_command(chosen, repo, settings.weights_dir))
