"""The ways to spoil what a shop remembers of a run: what it was made of, who rests on it, who holds it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Executable, delete, insert, literal, select, update

from storage.database import Database
from storage.records import Artifact, Claim, KeyParts
from storage.tables import job_pass, pass_execution, pass_input, pass_model

JOB, UNET = "job-1", "7" * 64
FAR = 99_999_999_999
"""Unix seconds in the year 5138."""


class SpoiltLineage:
    """Each way returns (the kind of finding, what `where` must hold)."""

    database: Database
    photo: Artifact
    made: Artifact

    def claim(self, parts: KeyParts | None = None) -> Claim:
        raise NotImplementedError

    def forget_the_inputs(self) -> tuple[str, str]:
        return self._spoil_the_run(delete(pass_input))

    def swap_an_input(self) -> tuple[str, str]:
        return self._spoil_the_run(update(pass_input).values(digest=self.made.digest))

    def add_an_input(self) -> tuple[str, str]:
        more = select(pass_execution.c.exec_id, literal("mask"), literal(self.photo.digest))
        return self._spoil_the_run(insert(pass_input).from_select(["exec_id", "role", "digest"], more))

    def forget_the_weights(self) -> tuple[str, str]:
        return self._spoil_the_run(delete(pass_model))

    def swap_the_weights(self) -> tuple[str, str]:
        return self._spoil_the_run(update(pass_model).values(model_digest="8" * 64))

    def rename_the_pass(self) -> tuple[str, str]:
        return self._spoil_the_run(update(pass_execution).values(pass_name="blend"))

    def raise_the_version(self) -> tuple[str, str]:
        return self._spoil_the_run(update(pass_execution).values(pass_version=2))

    def _spoil_the_run(self, statement: Executable) -> tuple[str, str]:
        with self.database.write() as connection:
            connection.execute(statement)
            return "wrong_lineage", connection.execute(select(pass_execution.c.exec_id)).scalar_one()

    def forget_the_passes(self) -> tuple[str, str]:
        with self.database.write() as connection:
            connection.execute(delete(job_pass))
        return "no_passes", JOB

    def abandon(self) -> tuple[str, str]:
        return "overdue", self._lease(until=1)

    def lease_for_ever(self) -> tuple[str, str]:
        return "endless_lease", self._lease(until=FAR)

    def _lease(self, until: int) -> str:
        claim = self.claim(KeyParts(pass_name="mix", pass_version=2, params={}, inputs={}, weights={}))
        self.set_lease(until)
        return claim.exec_id

    def set_lease(self, until: Any) -> None:
        """Of what is running; until: unix seconds."""
        with self.database.write() as connection:
            connection.execute(update(pass_execution).where(pass_execution.c.state == "running")
                               .values(lease_until=until))
