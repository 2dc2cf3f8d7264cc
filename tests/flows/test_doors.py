"""What a careless user does to folders, settings and files: each ends in one clear line and exit code 2."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows import entry
from storage.errors import SettingsError, SourceError, StorageError
from storage.settings import Settings
from storage.sources import read_source

EXAMPLE = Path(__file__).parents[2] / "examples" / "omni-bg" / "bottle.yaml"
RUN = ("run", "omni-bg", str(EXAMPLE), "--width", "64", "--height", "64")


def backlot(*arguments: str, **environment: str) -> tuple[int, str, str]:
    done = subprocess.run([sys.executable, "-m", "flows", *arguments], capture_output=True, text=True, timeout=200,
                          env={**os.environ, **environment})
    return done.returncode, done.stdout, done.stderr


def one_line(*arguments: str, **environment: str) -> str:
    """The single line of an error that ends in exit code 2."""
    code, out, error = backlot(*arguments, **environment)
    assert (code, out) == (2, ""), error
    assert len(error.strip().splitlines()) == 1
    return error.strip()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("a file and no folder")
    return tmp_path / "file"


@pytest.mark.parametrize("command", [("jobs",), ("db", "upgrade"), RUN])
def test_a_home_that_is_a_file_is_one_clear_line(command: tuple[str, ...], file: Path) -> None:
    said = one_line(*command, BACKLOT_HOME=str(file))
    assert said.endswith("this folder cannot be made (File exists). Name a folder that can be written")


def test_a_database_that_is_not_there_is_one_clear_line_without_its_password(tmp_path: Path) -> None:
    said = one_line("db", "upgrade", BACKLOT_DATABASE_URL=f"postgresql://bob:canary@/shop?host={tmp_path}")
    assert said.startswith("database_url='postgresql+psycopg://bob:***@/shop'")
    assert "tries in" in said


def test_a_bad_home_under_json_is_one_object(file: Path) -> None:
    code, out, _ = backlot(*RUN, "--json", BACKLOT_HOME=str(file))
    report = json.loads(out)
    assert (code, report["state"], report["error"]["field"]) == (2, "refused", "BACKLOT_HOME")


def test_an_empty_setting_is_as_good_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BACKLOT_HOME", "")
    assert Settings().home == tmp_path / ".backlot"


def test_a_home_that_a_database_url_cannot_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKLOT_HOME", "here?there")
    with pytest.raises(SettingsError, match="here"):
        Settings()


def test_a_damaged_database_is_one_clear_line(home: Path) -> None:
    home.mkdir()
    (home / "backlot.db").write_bytes(os.urandom(5000))
    said = one_line("jobs")
    assert "it cannot be opened (file is not a database). Restore a backup, or move it away" in said
    assert str(home / "backlot.db") in said


def test_a_url_that_is_none_is_one_clear_line(home: Path) -> None:
    assert "is not a database url" in one_line("jobs", BACKLOT_DATABASE_URL="nonsense")


def test_a_store_that_nothing_opens_names_its_setting() -> None:
    from storage.artifacts import ArtifactStore

    with pytest.raises(StorageError, match="artifacts_url='foo://x': is neither"):
        ArtifactStore("foo://x")


@pytest.mark.parametrize("image", ["a\0b.jpg", "x" * 300 + ".jpg"])
def test_a_path_that_the_system_refuses_is_one_clear_error(image: str) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        read_source(image, settings=Settings(input_roots=(Path("/"),)))


@pytest.mark.parametrize("name", ["deep.json", "deep.yaml"])
def test_a_document_nested_without_end_is_one_clear_line(name: str, tmp_path: Path, home: Path) -> None:
    (tmp_path / name).write_text("[" * 100_000)
    assert "is not valid" in one_line("run", "omni-bg", str(tmp_path / name))


def test_a_sheet_that_cannot_be_written_is_one_clear_line(home: Path, tmp_path: Path) -> None:
    from models.errors import InputError
    from tasks.services import Services
    from tasks.sheet import contact_sheet

    with pytest.raises(InputError, match=r"--out=.*cannot be written"):
        contact_sheet(Services(settings=Settings()), [], tmp_path)


def test_pinning_what_has_no_files_is_one_clear_line(home: Path) -> None:
    assert "there is nothing to pin" in one_line("weights", "pin", "--profile", "tiny")


@pytest.mark.parametrize("command", ["show", "lineage", "why"])
def test_errors_are_json_too_where_json_was_asked_for(command: str, home: Path) -> None:
    code, out, _ = backlot(command, "nobody", "--json")
    assert code == 2
    assert json.loads(out)["error"]["value"] == "nobody"


def test_a_server_that_is_not_there_is_one_clear_line(home: Path) -> None:
    code, _, error = backlot(*RUN, PREFECT_API_URL="http://127.0.0.1:9/api", PREFECT_CLIENT_MAX_RETRIES="0")
    assert code == 1
    assert "PREFECT_API_URL='http://127.0.0.1:9/api': no Prefect server answers there" in error
    assert "Traceback" not in error


def test_sigterm_ends_a_run_as_ctrl_c_does_and_leaves_no_server(home: Path) -> None:
    process = subprocess.Popen([sys.executable, "-m", "flows", *RUN, "--job-id", "ended", "--light-pass-steps", "50"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.split()[:2] == ["outpaint", "executed"]:
            break
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "--job-id ended" in error
    time.sleep(0.5)
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(home) not in left


def test_ctrl_c_while_the_program_is_loading_leaves_no_traceback(
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("flows.cli.main", interrupted)
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "Interrupted.\n"
