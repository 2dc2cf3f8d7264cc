"""What an operator does now and then: bring the database up to date."""

from __future__ import annotations

from storage.database import upgrade
from storage.settings import Settings


def upgrade_database(settings: Settings) -> str:
    return upgrade(settings.database_url)
