"""One case's world for toy workers, and the judge of what they leave behind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select
from toy_job import read_history
from toy_worker import Workers

from storage.database import Database, open_database
from storage.settings import Settings
from storage.tables import job, job_output, pass_execution
from storage.verify import Report, verify


@dataclass(frozen=True)
class Home:
    """One case's world: database, store, deliveries and history under `folder`, unless `settings` say otherwise."""

    folder: Path
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def photo(self) -> str:
        return str(self.folder.parent / "photo.png")

    def case(self, *jobs: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        """A worker's case (toy_worker)."""
        return {"folder": self.folder, "settings": dict(self.settings), **more,
                "jobs": [{"image": self.photo, **one} for one in jobs]}

    def history(self) -> list[dict[str, Any]]:
        return read_history(self.folder / "history.jsonl")

    def points(self) -> list[tuple[str, int]]:
        return [(line["point"], line["nth"]) for line in self.history() if "point" in line]

    def computed(self) -> Counter[str]:
        """How often each (pass, parameters, inputs) was really computed."""
        return Counter(str(line) for line in self.history() if "computed" in line)

    @cached_property
    def database(self) -> Database:
        """The judge's own connection, which the workers' deaths do not touch."""
        return open_database(self._settings.database_url)

    @property
    def _settings(self) -> Settings:
        return Settings(home=self.folder, **self.settings)

    def close(self) -> None:
        self.database.close()

    def check(self, **options: Any) -> Report:
        return verify(self.database, self._settings, **options)

    def ask(self, question: Callable[[Connection], Any]) -> Any:
        with self.database.read() as connection:
            return question(connection)

    def states(self) -> dict[str, str]:
        return self.ask(lambda connection: {
            row.job_id: row.state for row in connection.execute(select(job.c.job_id, job.c.state))})

    def finals(self) -> dict[str, str]:
        """{job: digest of its final picture}, which must have been delivered once."""
        rows = self.ask(lambda connection: connection.execute(
            select(job_output.c.job_id, job_output.c.digest).where(job_output.c.role == "final")).all())
        finals = {row.job_id: row.digest for row in rows}
        assert len(rows) == len(finals), f"a final picture was recorded twice: {rows}"
        return finals

    def successes(self) -> tuple[int, int]:
        """(succeeded executions, distinct keys)."""
        return self.ask(lambda connection: (
            connection.execute(select(func.count()).where(pass_execution.c.state == "succeeded")).scalar_one(),
            connection.execute(select(func.count(pass_execution.c.key.distinct()))).scalar_one()))

    def violations(self, jobs: list[str], *, repeats: int) -> list[str]:
        """What is wrong after a run that came to its end. repeats: how many passes may have been computed again."""
        found = [f"{one.kind} {one.where}: {one.what}" for one in self.check().findings
                 if one.kind not in ("quarantined", "trashed")]
        if self.states() != dict.fromkeys(jobs, "completed"):
            found.append(f"jobs: {self.states()}")
        made, keys = self.successes()
        if made != keys:
            found.append(f"{made} executions succeeded for {keys} keys")
        again = sum(count - 1 for count in self.computed().values())
        if again > repeats:
            found.append(f"{again} passes were computed again, {repeats} may be")
        files = {(line["delivered"], line["digest"]) for line in self.history() if "delivered" in line}
        if len(files) > len({uri for uri, _ in files}):
            found.append("other bytes were delivered under a name that had some")
        return found


def kill_at_each(workers: Workers, homes: Callable[[], Home], jobs: Sequence[Mapping[str, Any]],
                 wanted: Callable[[str], bool] = lambda point: True) -> tuple[list[Any], int]:
    """Kill a worker at every wanted point of the jobs, each time it comes there; check, run again, judge.

    What was bad, as (point, nth, why), and how many kills there were.
    """
    names = [one["job_id"] for one in jobs]
    clean = homes()
    assert workers.run(**clean.case(*jobs)).status == 0
    assert clean.violations(names, repeats=0) == []
    bad, points = [], [point for point in clean.points() if wanted(point[0])]
    for point, nth in points:
        home = homes()
        assert workers.run(**home.case(*jobs, die_at=[point, nth])).killed
        wrong = [f"right after: {one.kind} {one.where}: {one.what}" for one in home.check().faults]
        assert workers.run(**home.case(*jobs, time_passed=True)).status == 0
        wrong += home.violations(names, repeats=1)
        if home.finals() != clean.finals():
            wrong.append("another final picture")
        if wrong:
            bad.append((point, nth, wrong))
        home.close()
    clean.close()
    return bad, len(points)
