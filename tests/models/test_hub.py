"""What a Hub may answer, and the one line each failure ends in."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from fake_hub import FakeHub, Spoilt, commit_name
from huggingface_hub import constants
from pulling import (
    DEPTH,
    content,
    everything,
    pull,
    refused,
)

pytest_plugins = ["pulling"]


def test_the_token_goes_to_the_hub_and_not_to_the_host_it_redirects_to(remote: FakeHub, tmp_path: Path) -> None:
    pull(remote, tmp_path)
    to_other = [one for one in remote.asked if one.path.count("/") == 2 and len(one.path.split("/")[1]) == 64]
    assert len(to_other) == 2
    assert not any(one.token for one in to_other)
    assert all(one.token for one in remote.asked if one not in to_other)


@pytest.mark.parametrize("spoilt", [Spoilt(times=2, status=503), Spoilt(times=1, short=4_000)], ids=["503", "short"])
def test_what_may_pass_is_tried_again(remote: FakeHub, tmp_path: Path, spoilt: Spoilt) -> None:
    remote.spoilt["model.safetensors"] = spoilt
    pull(remote, tmp_path)
    assert content(tmp_path) == everything()


@pytest.mark.parametrize(("name", "spoilt", "said", "remedy"), [
    ("model.safetensors", Spoilt(status=503), "answers HTTP 503, to the last of 4 tries", "what has arrived is kept"),
    (DEPTH, Spoilt(status=500), "answers HTTP 500, to the last of 4 tries", "what has arrived is kept"),
    ("model.safetensors", Spoilt(short=0), "fewer bytes came than", "what has arrived is kept"),
    ("config.json", Spoilt(status=404, code="EntryNotFound"), "no such file at this commit", f"--repin {DEPTH}"),
    (DEPTH, Spoilt(status=404, code="RevisionNotFound"), "not there any more", f"--repin {DEPTH}"),
    (DEPTH, Spoilt(status=401), "knows no such repository, or shows it only to some (HTTP 401)", "HF_TOKEN"),
    (DEPTH, Spoilt(status=404, code="RepoNotFound"), "knows no such repository", "HF_TOKEN"),
    ("config.json", Spoilt(status=403), "refuses it (HTTP 403)", "HF_TOKEN"),
    (DEPTH, Spoilt(status=403, code="GatedRepo"), "only those who accepted their terms",
     f"/{DEPTH}, then set HF_TOKEN"),
    ("config.json", Spoilt(status=418), "answers HTTP 418", "BACKLOT_HUB_URL")])
def test_each_refusal_by_the_hub_is_one_line_that_says_what_to_do(
        remote: FakeHub, tmp_path: Path, name: str, spoilt: Spoilt, said: str, remedy: str) -> None:
    remote.spoilt[name] = spoilt
    told = refused(remote, tmp_path)
    assert told.startswith(f"weights='{DEPTH}")
    assert name.rpartition("/")[2] in told
    assert said in told
    assert remedy in told


def test_a_file_the_commit_does_not_have_is_named(remote: FakeHub, tmp_path: Path) -> None:
    remote.add(DEPTH, {"config.json": b"{}"})
    told = refused(remote, tmp_path)
    assert f"{DEPTH}/preprocessor_config.json': there is no such file at commit {commit_name(DEPTH, 1)}" in told


def test_a_hub_that_is_not_there_or_is_none_is_one_line(
        remote: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    away = dataclasses.replace(remote, url="http://127.0.0.1:9")
    assert "http://127.0.0.1:9 cannot be reached (ConnectError)" in refused(away, tmp_path)
    remote.spoilt[DEPTH] = Spoilt(status=200)
    assert "does not answer as a Hub does. Check BACKLOT_HUB_URL" in refused(remote, tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "stay offline (HF_HUB_OFFLINE)" in refused(remote, tmp_path)
