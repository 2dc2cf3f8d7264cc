"""What an operator does now and then: bring the database up to date, record which weights lie on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from models.errors import InputError
from models.weights import download_command, pin, profile
from storage.database import upgrade
from storage.settings import Settings


@dataclass(frozen=True, kw_only=True)
class WeightRow:
    """One repository of a profile, as people want to see it before they download."""

    roles: str
    repo: str
    licence: str
    commercial_use: str
    gigabytes: float
    present: bool
    command: str


def upgrade_database(settings: Settings) -> str:
    return upgrade(settings.database_url)


def pin_weights(settings: Settings, name: str) -> Path:
    if profile(name).is_tiny:
        raise InputError("its weights are drawn in memory, so there is nothing to pin", field="profile", value=name,
                         remedy="Pin a profile of real files: sdxl")
    return pin(profile(name), settings.weights_dir)


def weight_rows(settings: Settings, name: str) -> list[WeightRow]:
    """The profile's repositories; empty for tiny, which downloads nothing."""
    chosen, rows = profile(name), []
    for repo in dict.fromkeys(file.repo for file in chosen.files):
        files = [file for file in chosen.files if file.repo == repo]
        roles = [role for role, spec in chosen.models.items() if any(file.repo == repo for file in spec.files)]
        rows.append(WeightRow(
            roles=", ".join(roles), repo=repo, licence=files[0].licence, commercial_use=files[0].commercial_use,
            gigabytes=sum(file.size_bytes or 0 for file in files) / 1e9,
            present=all((settings.weights_dir / file.key).is_file() for file in files),
            command=download_command(chosen, repo, settings.weights_dir)))
    return rows
