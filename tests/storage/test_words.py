"""Text that one of the databases could not hold: the same behaviour on both, and no failure that cannot be told."""

from typing import Any

import pytest
from sqlalchemy import select

from storage.tables import environment
from storage.words import NotText, told

NUL, HALF = "a\x00b", "foto\udce4.jpg"


@pytest.mark.parametrize("text", [NUL, HALF], ids=["NUL", "half a pair"])
def test_a_failure_can_always_be_told(world: Any, text: str) -> None:
    world.job()
    claim = world.claim(world.parts())
    world.ledger.fail(claim, "bug", text)
    row = world.execution(claim.exec_id)
    assert (row.state, row.failure_message) == ("failed", told(text))
    world.ledger.close_job("job-1", "failed", {"message": text, "value": text})
    assert world.lineage.job("job-1").error == {"message": text, "value": text}


@pytest.mark.parametrize("text", [NUL, "é 雪 😀 \\u0000 \x01\x1f\x7f\u2028"], ids=["NUL", "unusual"])
def test_documents_come_back_as_they_were(world: Any, text: str) -> None:
    new = world.new_job("job-1", requested={"prompt": text, text: 1}, resolved={"p": [text]})
    opened = world.ledger.open_job(new)
    assert (opened.requested, opened.resolved) == ({"prompt": text, text: 1}, {"p": [text]})
    assert world.lineage.job("job-1") == opened == world.ledger.open_job(new)


def test_a_document_without_a_spelling_is_refused(world: Any) -> None:
    for fields in ({"requested": {"image": "a", "prompt": HALF}}, {"resolved": {"prompt": ["a", {"b": HALF}]}}):
        with pytest.raises(NotText, match=r"^prompt=.*holds a NUL or half a surrogate pair"):
            world.ledger.open_job(world.new_job("job-1", **fields))
    assert not world.lineage.has_job("job-1")


@pytest.mark.parametrize("text", [NUL, HALF], ids=["NUL", "half a pair"])
def test_notes_come_back_as_they_were(world: Any, text: str) -> None:
    world.job()
    world.ledger.observe_source("job-1", "s3://in/a.jpg", "1", 1, None, world.digest("a"), world.artifact("a"),
                                "decoder-1", [text])
    assert world.lineage.sources("job-1")[-1].notes == (text,)


def test_a_prompt_with_a_nul_has_a_key_of_its_own(world: Any) -> None:
    world.job()
    made = world.run(world.parts(prompt=NUL), "lit")
    assert world.claim(world.parts(prompt=NUL)) == made
    assert world.lineage.passes("job-1")[0].params == {"prompt": NUL}
    assert world.parts(prompt=NUL).key != world.parts(prompt="ab").key


@pytest.mark.parametrize("text", [NUL, HALF], ids=["NUL", "half a pair"])
def test_text_by_which_things_are_found_is_refused(world: Any, text: str) -> None:
    world.job()
    acts = {
        "uri": lambda: world.ledger.record_output("job-1", "final", world.artifact("photo"), text),
        "role": lambda: world.ledger.record_output("job-1", text, world.artifact("photo"), "uri"),
        "version": lambda: world.ledger.observe_source(
            "job-1", "s3://in/b", text, 1, None, world.digest("b"), world.artifact("b"), "decoder-1"),
        "job_id": lambda: world.lineage.job(text),
        "flow_run_id": lambda: world.ledger.open_job(world.new_job("job-2", flow_run_id=text)),
        "worker": lambda: world.ledger.claim(world.parts(), job_id="job-1", worker=text, lease_seconds=9)}
    for column, act in acts.items():
        with pytest.raises(NotText, match="holds a NUL or half a surrogate pair") as refused:
            act()
        assert (refused.value.field, refused.value.value) == (column, told(text))
        str(refused.value).encode()
    assert world.lineage.outputs("job-1") == []


def test_none_is_no_text_and_stays_none(world: Any) -> None:
    assert world.ledger.open_job(world.new_job("job-1")).flow_run_id is None


def test_people_read_stored_json_as_it_was_written(world: Any) -> None:
    from sqlalchemy import Text, cast

    world.job()
    world.commit(world.claim(world.parts()), world.parts(), "lit", environment={"größe": "雪"})
    with world.database.read() as connection:
        assert connection.execute(select(cast(environment.c.versions, Text))).scalar_one() == '{"größe": "雪"}'


def test_what_is_told_is_unicode_without_a_nul() -> None:
    assert (told(NUL), told(HALF), told("é\n")) == ("a\ufffdb", "foto\ufffd.jpg", "é\n")
