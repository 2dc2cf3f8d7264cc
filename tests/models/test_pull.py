"""Fetching weights from a Hub on loopback: what comes, what is pinned, what is left alone."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from fake_hub import FakeHub, commit_name
from pulling import (
    CONFIG,
    DEPTH,
    UPSCALER,
    WEIGHTS,
    Watching,
    content,
    depth_files,
    everything,
    pull,
    refused,
    two_models,
    weights_of,
)

from models import weights_lock
from models.profiles import PROFILES
from models.weights import pin, resolve

pytest_plugins = ["pulling"]


def test_a_pull_brings_the_tables_files_and_no_others_and_pins_them(remote: FakeHub, tmp_path: Path) -> None:
    watch = Watching()
    pull(remote, tmp_path, watch=watch)
    assert content(tmp_path) == everything()
    lock = json.loads((tmp_path / weights_lock.NAME).read_text())
    assert lock == {key: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data),
                          "commit": commit_name(key.rpartition("/")[0], 0)} for key, data in everything().items()}
    assert watch.bytes == {key: len(data) for key, data in everything().items()}
    assert sorted(watch.ended) == sorted(everything())
    models = resolve(two_models(), tmp_path)
    assert models["depth"].commits[WEIGHTS] == commit_name(DEPTH, 0)
    assert not list(tmp_path.rglob("*.partial"))


def test_what_is_here_and_as_pinned_is_not_fetched_again_nor_asked_for(remote: FakeHub, tmp_path: Path) -> None:
    pull(remote, tmp_path)
    remote.asked.clear()
    again = pull(remote, tmp_path)
    assert remote.asked == []
    assert (len(again.settled), again.wanted, again.missing) == (4, (), 0)


def test_only_what_is_missing_or_damaged_comes_again_and_from_the_pinned_commit(
        remote: FakeHub, tmp_path: Path) -> None:
    pull(remote, tmp_path)
    (tmp_path / CONFIG).unlink()
    (tmp_path / WEIGHTS).write_bytes(b"damaged")
    remote.add(DEPTH, depth_files(seed=7))
    remote.asked.clear()
    again = pull(remote, tmp_path)
    assert sorted(remote.fetched()) == ["config.json", "model.safetensors"]
    assert {one.file.path: one.changed for one in again.wanted} == {"config.json": False, "model.safetensors": True}
    assert content(tmp_path) == everything()


def test_files_brought_by_hand_are_pinned_when_the_hub_has_the_same(remote: FakeHub, tmp_path: Path) -> None:
    for key, data in everything().items():
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_bytes(data)
    planned = pull(remote, tmp_path)
    assert remote.fetched() == []
    assert set(planned.adopted) == set(everything())
    assert resolve(two_models(), tmp_path)["depth"].commits[CONFIG] == commit_name(DEPTH, 0)


def test_other_weights_under_the_same_name_are_an_error_and_not_an_update(remote: FakeHub, tmp_path: Path) -> None:
    """A folder pinned by hand knows no commit, so the newest is asked for: and that has other weights."""
    pull(remote, tmp_path)
    forget_commits(tmp_path)
    (tmp_path / CONFIG).unlink()
    before = content(tmp_path)
    remote.add(DEPTH, depth_files(seed=7))
    told = refused(remote, tmp_path)
    ours, theirs = (hashlib.sha256(weights_of(seed)).hexdigest() for seed in (1, 7))
    assert WEIGHTS in told
    assert f"has the digest {theirs} at commit {commit_name(DEPTH, 1)}, and the lock says {ours}" in told
    assert f"backlot weights pull --repin {DEPTH}" in told
    assert content(tmp_path) == before


@pytest.mark.parametrize("here", [None, b'{"seed": 7}'], ids=["gone", "as at the Hub"])
def test_another_small_file_is_an_error_too_though_git_tells_no_digest_of_it(
        remote: FakeHub, tmp_path: Path, here: bytes | None) -> None:
    pull(remote, tmp_path)
    forget_commits(tmp_path)
    (tmp_path / CONFIG).unlink() if here is None else (tmp_path / CONFIG).write_bytes(here)
    before = content(tmp_path)
    remote.add(DEPTH, {**depth_files(), "config.json": b'{"seed": 7}'})
    told = refused(remote, tmp_path)
    assert f"and the lock says {hashlib.sha256(depth_files()['config.json']).hexdigest()}" in told
    assert f"backlot weights pull --repin {DEPTH}" in told
    assert content(tmp_path) == before


def forget_commits(folder: Path) -> None:
    """Leave the lock as `weights pin` wrote it until 2026-11-21."""
    lock = json.loads((folder / weights_lock.NAME).read_text())
    for facts in lock.values():
        del facts["commit"]
    (folder / weights_lock.NAME).unlink()
    (folder / "sdxl.lock.json").write_text(json.dumps(lock))


def test_repinning_takes_the_newest_commit_of_that_repository_and_no_other(remote: FakeHub, tmp_path: Path) -> None:
    pull(remote, tmp_path)
    remote.add(DEPTH, depth_files(seed=7))
    remote.add(UPSCALER, {"RealESRGAN_x4plus.safetensors": weights_of(8)})
    before = resolve(two_models(), tmp_path)
    pull(remote, tmp_path, repin=[DEPTH])
    after = resolve(two_models(), tmp_path)
    assert (tmp_path / WEIGHTS).read_bytes() == weights_of(7)
    assert after["depth"].commits[CONFIG] == commit_name(DEPTH, 1)
    assert after["depth"].digest != before["depth"].digest
    assert after["upscaler"] == before["upscaler"]


def test_two_profiles_share_files_and_so_their_pins(remote: FakeHub, tmp_path: Path) -> None:
    """What one profile pinned another must not take from a newer commit."""
    depth, upscaler = two_models().models["depth"].files, two_models().models["upscaler"].files
    pull(remote, tmp_path, files=depth[:2])
    remote.add(DEPTH, {**depth_files(), "model.safetensors": weights_of(7)})
    pull(remote, tmp_path, files=(*depth[2:], *upscaler))
    assert content(tmp_path) == everything()


def test_a_digest_the_table_knows_must_be_what_the_hub_has(remote: FakeHub, tmp_path: Path) -> None:
    files = PROFILES["sdxl"].models["upscaler"].files
    told = refused(remote, tmp_path, files=files)
    assert f"and the table of weights says {files[0].sha256}" in told
    assert content(tmp_path) == {}


def test_pinning_what_came_by_hand_keeps_the_commit_of_what_did_not_change(remote: FakeHub, tmp_path: Path) -> None:
    pull(remote, tmp_path)
    (tmp_path / CONFIG).write_text('{"mine": 1}')
    pin(two_models(), tmp_path)
    lock = weights_lock.read(tmp_path)
    assert lock[CONFIG].commit is None
    assert lock[WEIGHTS].commit == commit_name(DEPTH, 0)
