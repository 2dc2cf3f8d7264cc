"""`backlot verify` as operators and their scripts see it: words, JSON and exit codes."""

import json
from pathlib import Path
from typing import Any

import pytest
from kept import JOB, Kept
from places import Place
from rich.console import Console
from typer.testing import CliRunner

from flows.cli import app
from flows.verify_command import verify
from storage.database import open_database
from storage.errors import StoreUnavailable
from storage.outputs import Outputs
from storage.settings import Settings
from tasks.services import Services, use


@pytest.fixture
def kept(tmp_path: Path) -> Any:
    import fsspec

    url = f"sqlite:///{tmp_path}/backlot.db"
    database = open_database(url)
    yield Kept.new(database, url, Place(str(tmp_path / "store"), None, fsspec.filesystem("file")))
    database.close()


def backlot(kept: Kept, *arguments: str) -> tuple[int, str]:
    with use(Services(settings=kept.settings)):
        done = CliRunner().invoke(app, ["verify", *arguments], catch_exceptions=False)
    return done.exit_code, done.stdout


def test_a_clean_shop_ends_with_0_and_says_what_was_looked_at(kept: Kept) -> None:
    assert backlot(kept) == (0, "No fault. Looked at: artifacts 2, deliveries 1, executions 1, jobs 1, objects 2 (every"
                                " byte read).\n")


def test_faults_end_with_1_and_say_where_what_and_what_to_do(kept: Kept) -> None:
    kept.flip_a_bit()
    kept.forget_every_part()
    code, text = backlot(kept)
    assert code == 1
    assert kept.made.digest in text
    assert "1 damaged: stored bytes are not what their name says. Run `backlot verify --repair`." in text
    assert "1 wrong_key: the parts stored for a key do not hash to it. Restore a backup" in text
    assert "Faults: 2. Looked at: " in text


def test_a_repair_that_heals_everything_ends_with_0(kept: Kept) -> None:
    kept.flip_a_bit()
    code, text = backlot(kept, "--repair")
    assert code == 0
    assert "moved to quarantine; put back from" in text
    assert "No fault is left." in text
    assert backlot(kept)[0] == 0


def test_a_repair_that_cannot_heal_everything_ends_with_1(kept: Kept) -> None:
    kept.flip_a_bit()
    kept.forget_every_part()
    code, text = backlot(kept, "--repair")
    assert code == 1
    assert "Faults: 1." in text


def test_what_was_tried_and_not_healed_is_left(kept: Kept) -> None:
    kept.lose_photo()
    code, text = backlot(kept, "--repair", "--json")
    assert code == 1
    assert [one["where"] for one in json.loads(text)["left"]] == [kept.photo.digest]


def test_a_repair_that_fails_is_told_beside_those_that_did_not(kept: Kept) -> None:
    kept.leave_a_draft()
    kept.age_everything(hours=25)
    kept.take_the_delivery_away()
    Path(f"{kept.delivered_at.url}/{JOB}/final.png").mkdir()
    code, text = backlot(kept, "--repair", "--json")
    assert code == 1
    told = json.loads(text)
    assert {one["kind"]: one["healed"] for one in told["repaired"]} == {"stale_draft": True, "undelivered": False}
    assert [one["kind"] for one in told["left"]] == ["undelivered"]


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_what_was_found_is_told_although_the_repair_was_broken_off(
        kept: Kept, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: Any) -> None:
    def no_answer(self: Outputs, job_id: str, name: str, data: bytes) -> str:
        raise StoreUnavailable("outputs_url", "s3://shop", "put_object tried 5 times")

    kept.leave_a_draft()
    kept.age_everything(hours=25)
    kept.take_the_delivery_away()
    monkeypatch.setattr(Outputs, "put", no_answer)
    with use(Services(settings=kept.settings)) as here, pytest.raises(StoreUnavailable):
        verify(here, Console(width=300), repair=True, read_data=True, as_json=bool(options))
    text = capsys.readouterr().out
    if options:
        assert [one["kind"] for one in json.loads(text)["left"]] == ["undelivered"]
    else:
        assert "1 stale_draft" in text
        assert "1 undelivered" in text
        assert "Faults: 1." in text


def test_json_holds_every_finding_and_repair(kept: Kept) -> None:
    kept.flip_a_bit()
    code, text = backlot(kept, "--json", "--repair")
    told = json.loads(text)
    assert code == 0
    assert [(one["kind"], one["where"], one["repairable"]) for one in told["findings"]] == [
        ("damaged", kept.made.digest, True)]
    assert [(one["kind"], one["healed"]) for one in told["repaired"]] == [("damaged", True)]
    assert told["left"] == []
    assert told["looked_at"]["objects"] == 2


def test_quick_reads_no_bytes(kept: Kept) -> None:
    kept.flip_a_bit()
    assert backlot(kept, "--quick")[0] == 0
    kept.truncate()
    assert backlot(kept, "--quick")[0] == 1


def test_of_many_findings_of_one_kind_people_see_some_and_scripts_all(kept: Kept) -> None:
    for number in range(25):
        kept.plant(f"sha256/ab/holiday-{number}.jpg", b"not ours")
    _, text = backlot(kept)
    assert text.count("holiday-") == 20
    assert "25 stray" in text
    assert "(5 more than shown)" in text
    assert len(json.loads(backlot(kept, "--json")[1])["findings"]) == 25


def test_what_is_only_told_is_no_fault(kept: Kept) -> None:
    kept.plant(f"quarantine/{kept.made.digest}.{'0' * 64}", b"rot")
    code, text = backlot(kept)
    assert code == 0
    assert "1 quarantined: damaged bytes set aside earlier." in text


def test_a_store_that_cannot_be_opened_is_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    from flows.cli import main

    monkeypatch.setattr("sys.argv", ["backlot", "verify"])
    with (use(Services(settings=Settings(home=tmp_path, artifacts_url="memory://shop/pictures"))),
          pytest.raises(SystemExit) as ended):
        main()
    assert ended.value.code == 2
    assert "artifacts_url='memory://shop/pictures'" in capsys.readouterr().err
