"""A connection may be lost after COMMIT was sent: each fact that is then told again is one fact all the same."""

from collections.abc import Callable, Generator
from typing import Any

import pytest
from cutter import Cutter, cutter
from sqlalchemy import func, select, text, update

from storage import database as layer
from storage.database import Database, Patience, open_database
from storage.errors import FencedOff
from storage.ledger import Ledger
from storage.lineage import Lineage
from storage.records import Busy, Claim, Execution, KnownPhoto, ModelFile
from storage.tables import job, metadata, pass_execution


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer, "PATIENCE", Patience(pause=0.001, longest=0.01))


class Line:
    """Loses the answer to the COMMIT that is `armed` ahead, in the driver's place: the same on both databases."""

    def __init__(self, database: Database) -> None:
        self.armed = 0
        self.cuts = 0
        dialect = database._engine.dialect
        commit, error = dialect.do_commit, dialect.loaded_dbapi.OperationalError("database is locked")
        error.sqlite_errorcode = 5

        def losing(connection: Any) -> None:
            commit(connection)
            self.armed -= 1
            if self.armed == 0:
                self.cuts += 1
                raise error

        dialect.do_commit = losing  # type: ignore[method-assign]


@pytest.fixture
def line(world: Any) -> Line:
    return Line(world.database)


def rows(world: Any) -> dict[str, int]:
    with world.database.read() as connection:
        counts = {table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
                  for table in metadata.sorted_tables}
    return {name: count for name, count in counts.items() if count}


def retold(world: Any, line: Line, act: Callable[[], Any], commit: int = 1) -> tuple[Any, dict[str, int]]:
    """What `act` gave although the answer to its nth COMMIT was lost, and how many rows more there are."""
    before = rows(world)
    line.armed, line.cuts = commit, 0
    given = act()
    assert line.cuts == 1
    return given, {name: count - before.get(name, 0) for name, count in rows(world).items()
                   if count != before.get(name, 0)}


def test_a_claim_whose_answer_was_lost_is_still_ones_own(world: Any, line: Line) -> None:
    world.job()
    parts = world.parts()
    claim, more = retold(world, line, lambda: world.claim(parts), commit=2)
    assert isinstance(claim, Claim)
    assert more == {"pass_execution": 1, "cache_key_part": 3}
    assert isinstance(world.claim(parts), Busy)
    assert world.commit(claim, parts, "lit").state == "succeeded"


def test_a_claim_that_was_overtaken_before_it_was_told_again_is_anothers(world: Any, line: Line) -> None:
    """Its answer was lost for so long that its lease ran out and another worker finished the work."""
    world.job()
    parts = world.parts()
    lose_answer, done = world.database._engine.dialect.do_commit, []

    def overtaken(connection: Any) -> None:
        try:
            lose_answer(connection)
        except Exception:
            with world.database.write() as other:
                other.execute(update(pass_execution).values(lease_until=1))
            done.append(world.run(parts, "made by another"))
            raise

    world.database._engine.dialect.do_commit = overtaken
    given, _ = retold(world, line, lambda: world.claim(parts), commit=2)
    assert given == done[0]


def test_a_result_whose_answer_was_lost_is_recorded_once(world: Any, line: Line) -> None:
    world.job()
    parts = world.parts(weights={"net": "net"})
    claim = world.claim(parts)
    made, more = retold(world, line, lambda: world.commit(claim, parts, "lit"))
    assert isinstance(made, Execution)
    assert more == {"artifact": 1, "environment": 1, "pass_input": 1, "pass_output": 1, "pass_model": 1, "job_pass": 1}
    assert world.claim(parts) == made
    [row] = world.lineage.passes("job-1")
    assert (row.disposition, row.exec_id) == ("executed", claim.exec_id)


def test_only_the_very_same_result_counts_as_told_already(world: Any) -> None:
    world.job()
    parts = world.parts()
    claim = world.claim(parts)
    made = world.commit(claim, parts, "lit")
    assert world.commit(claim, parts, "lit") == made
    with pytest.raises(FencedOff):
        world.commit(claim, parts, "another picture")


def test_a_renewal_and_a_failure_are_told_once(world: Any, line: Line) -> None:
    world.job()
    claim = world.claim(world.parts())
    world.expire(claim)
    assert retold(world, line, lambda: world.ledger.renew(claim, 60)) == (None, {})
    assert isinstance(world.claim(world.parts()), Busy)
    assert retold(world, line, lambda: world.ledger.fail(claim, "bug", "no")) == (None, {})
    row = world.execution(claim.exec_id)
    assert (row.state, row.failure_message) == ("failed", "no")


def test_a_job_is_opened_once_and_a_round_counted_once(world: Any, line: Line) -> None:
    def rounds() -> int:
        with world.database.read() as connection:
            return connection.execute(select(job.c.round)).scalar_one()

    opened, more = retold(world, line, lambda: world.ledger.open_job(world.new_job("job-1")))
    assert (opened.state, more, rounds()) == ("running", {"job": 1}, 1)
    _, more = retold(world, line, lambda: world.ledger.close_job("job-1", "completed"))
    assert (world.lineage.job("job-1").state, more) == ("completed", {})
    _, more = retold(world, line, lambda: world.ledger.open_job(world.new_job("job-1")))
    assert (more, rounds()) == ({}, 2)


@pytest.mark.parametrize(("act", "told"), [
    (lambda world, made: world.ledger.observe_source(
        "job-2", "s3://in/b.jpg", "1", 1, None, world.digest("b.jpg"), world.artifact("b"), "decoder-1", ("a note",)),
     {"artifact": 1, "source_observation": 1}),
    (lambda world, made: world.ledger.record_output("job-2", "final", world.artifact("lit"), "s3://out/final.png"),
     {"job_output": 1}),
    (lambda world, made: world.ledger.rest_on("job-2", "mix", 1, made, "same"), {"job_pass": 1}),
    (lambda world, made: world.ledger.skip("job-2", "second", 2, "sdxl", "skipped"), {"job_pass": 1}),
    (lambda world, made: world.ledger.lose(world.digest("lit")), {}),
    (lambda world, made: world.ledger.record_model("a" * 64, [ModelFile(
        sha256="b" * 64, repo="r", revision=None, path="p", bytes=1, licence="l", commercial_use="yes")]),
     {"model_file": 1}),
], ids=["observe_source", "record_output", "rest_on", "skip", "lose", "record_model"])
def test_every_other_fact_is_one_fact(world: Any, line: Line, act: Callable[..., None], told: dict[str, int]) -> None:
    world.job("job-1")
    made = world.run(world.parts(), "lit")
    world.ledger.open_job(world.new_job("job-2"))
    assert retold(world, line, lambda: act(world, made)) == (None, told)


def test_a_question_whose_answer_was_lost_is_asked_again(world: Any, line: Line) -> None:
    world.job()
    known, more = retold(world, line, lambda: world.ledger.known_source(world.digest("photo.jpg"), "decoder-1"))
    assert (known, more) == (KnownPhoto(artifact=world.artifact("photo")), {})


@pytest.fixture
def cut_world(postgres_world: Any) -> Generator[tuple[Any, Cutter]]:
    """A world behind a real line that can be cut."""
    with cutter(postgres_world.url) as line:
        database = open_database(line.url)
        yield type(postgres_world)(url=line.url, database=database, ledger=Ledger(database),
                                   lineage=Lineage(database)), line
        database.close()


def test_a_line_that_is_really_cut_after_the_commit_loses_and_doubles_nothing(
        postgres_world: Any, cut_world: tuple[Any, Cutter]) -> None:
    world, line = cut_world
    parts, acts = world.parts(), []

    def cut(act: Callable[[], Any], commit: int = 1) -> Any:
        acts.append(act)
        line.armed = commit
        given = act()
        assert line.cuts == len(acts)
        return given

    cut(lambda: world.ledger.open_job(world.new_job("job-1")))
    cut(lambda: world.ledger.observe_source("job-1", "s3://in/a.jpg", "1", 1, None, world.digest("a.jpg"),
                                            world.artifact("photo"), "decoder-1"))
    failing = cut(lambda: world.claim(world.parts(failing=1)), commit=2)
    cut(lambda: world.ledger.fail(failing, "bug", "no"))
    claim = cut(lambda: world.claim(parts), commit=2)
    made = cut(lambda: world.commit(claim, parts, "lit"))
    cut(lambda: world.ledger.record_output("job-1", "final", world.artifact("lit"), "s3://out/final.png"))
    cut(lambda: world.ledger.close_job("job-1", "completed"))
    assert made.exec_id == claim.exec_id
    with postgres_world.database.read() as connection:
        assert connection.execute(text("SELECT state, count(*) FROM pass_execution GROUP BY 1 ORDER BY 1")).all() == [
            ("failed", 1), ("succeeded", 1)]
    assert {name: count for name, count in rows(postgres_world).items() if name.startswith("job")} == {
        "job": 1, "job_pass": 1, "job_output": 1}
