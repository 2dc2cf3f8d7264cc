"""A pull among wrong bytes, broken lines, full disks and kills: nothing false gets a name, what came is not lost."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_hub import FakeHub, Spoilt
from huggingface_hub import constants
from pulling import (
    CONFIG,
    DEPTH,
    FILES,
    WEIGHTS,
    Watching,
    content,
    depth_files,
    everything,
    pull,
    refused,
    weights_of,
)

from models import weights_lock
from models.alone import alone
from models.errors import WeightsError
from models.pull import Wanted

pytest_plugins = ["pulling"]


def test_wrong_bytes_are_one_error_with_both_digests_and_never_get_the_files_name(
        remote: FakeHub, tmp_path: Path) -> None:
    remote.spoilt["model.safetensors"] = Spoilt(other=True)
    told = refused(remote, tmp_path)
    ours = hashlib.sha256(weights_of(1)).hexdigest()
    theirs = hashlib.sha256(bytes(len(weights_of(1)))).hexdigest()
    assert f"weights='{WEIGHTS}'" in told
    assert f"have the digest {theirs}, and what was expected is {ours}" in told
    assert WEIGHTS not in content(tmp_path)
    assert not list((tmp_path / DEPTH).glob(".model.safetensors.*"))
    assert WEIGHTS not in weights_lock.read(tmp_path)
    remote.spoilt.clear()
    pull(remote, tmp_path)
    assert content(tmp_path) == everything()


def test_a_small_file_that_is_not_the_git_object_announced_is_refused(
        remote: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fake_hub.blob", lambda data: "0" * 40)
    assert "what was expected is the git object 0000" in refused(remote, tmp_path)
    assert CONFIG not in content(tmp_path)


def test_a_file_that_no_loader_would_open_never_gets_its_name(remote: FakeHub, tmp_path: Path) -> None:
    remote.add(DEPTH, {**depth_files(), "model.safetensors": b"\x80\x04a pickle"})
    assert "model.safetensors is not safetensors, whatever its name" in refused(remote, tmp_path)
    assert WEIGHTS not in content(tmp_path)


def test_a_file_larger_than_the_table_allows_is_not_begun(remote: FakeHub, tmp_path: Path) -> None:
    files = tuple(dataclasses.replace(file, size_bytes=9_000) for file in FILES)
    assert f"has {len(weights_of(1))} bytes, more than the 9270 it may have" in refused(remote, tmp_path, files=files)
    assert remote.fetched() == []


def test_a_connection_that_breaks_is_taken_up_where_it_broke(
        remote: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1_000)
    remote.spoilt["model.safetensors"] = Spoilt(times=1, cut=12_345)
    watch = Watching()
    pull(remote, tmp_path, watch=watch)
    assert content(tmp_path) == everything()
    assert 12_000 in {one.first_byte for one in remote.asked}
    assert watch.bytes[WEIGHTS] == len(weights_of(1))


def test_a_disk_without_room_is_refused_before_anything_comes(
        remote: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 90, 10))  # type: ignore[attr-defined]
    assert "0.00 GB are to come and 0.00 GB are free. Make room" in refused(remote, tmp_path)
    assert remote.fetched() == []


def test_a_disk_that_fills_while_it_comes_is_one_line_and_what_came_is_kept(remote: FakeHub, tmp_path: Path) -> None:
    """/dev/full answers every byte with "no space left"."""
    digest = hashlib.sha256(weights_of(1)).hexdigest()
    (tmp_path / DEPTH).mkdir(parents=True)
    (tmp_path / DEPTH / f".model.safetensors.{digest[:16]}.partial").symlink_to("/dev/full")
    assert f"{WEIGHTS}': the disk is full. Make room and pull again: what has arrived is kept" in refused(
        remote, tmp_path)
    assert WEIGHTS not in content(tmp_path)


def test_half_a_file_is_continued_and_half_of_another_version_is_not(remote: FakeHub, tmp_path: Path) -> None:
    data = weights_of(1)
    digest = hashlib.sha256(data).hexdigest()
    folder = tmp_path / DEPTH
    folder.mkdir(parents=True)
    (folder / f".model.safetensors.{digest[:16]}.partial").write_bytes(data[:7_000])
    (folder / ".model.safetensors.0123456789abcdef.partial").write_bytes(b"half of an older version")
    planned = pull(remote, tmp_path)
    assert {one.file.path: one.have for one in planned.wanted}["model.safetensors"] == 7_000
    assert 7_000 in {one.first_byte for one in remote.asked}
    assert content(tmp_path) == everything()
    assert not list(folder.glob(".*.partial"))


@pytest.mark.parametrize("half", [bytes(7_000), bytes(30_000)], ids=["zeros", "too long"])
def test_half_a_file_that_the_disk_lost_is_fetched_from_its_start(
        remote: FakeHub, tmp_path: Path, half: bytes) -> None:
    """After a power failure a file may be as long as it was and hold zeros."""
    digest = hashlib.sha256(weights_of(1)).hexdigest()
    (tmp_path / DEPTH).mkdir(parents=True)
    (tmp_path / DEPTH / f".model.safetensors.{digest[:16]}.partial").write_bytes(half)
    watch = Watching()
    pull(remote, tmp_path, watch=watch)
    assert content(tmp_path) == everything()
    assert watch.bytes[WEIGHTS] == len(weights_of(1))


def test_a_failure_ends_the_other_fetches_and_keeps_what_they_have(
        remote: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1_000)
    remote.spoilt["model.safetensors"] = Spoilt(times=1, cut=12_345)  # comes back a second later, and is over
    remote.spoilt["config.json"] = Spoilt(status=418, late=True)

    class Halfway(Watching):
        def arrived(self, one: Wanted, count: int) -> None:
            super().arrived(one, count)
            if self.bytes.get(WEIGHTS) == 12_000:
                remote.go.set()

    with pytest.raises(WeightsError, match=r"config.json': "):
        pull(remote, tmp_path, watch=Halfway())
    partial, = (tmp_path / DEPTH).glob(".model.safetensors.*.partial")
    assert partial.read_bytes() == weights_of(1)[:12_000]


def test_two_pulls_do_not_write_one_folder(remote: FakeHub, tmp_path: Path) -> None:
    with alone(tmp_path):
        assert "another pull or pin is at work in this folder" in refused(remote, tmp_path)
    pull(remote, tmp_path)


def test_a_folder_that_cannot_be_made_is_one_line(remote: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "BACKLOT_WEIGHTS_DIR" in refused(remote, tmp_path / "file" / "weights")


def test_a_pull_killed_in_the_middle_of_a_file_goes_on_where_it_was(remote: FakeHub, tmp_path: Path) -> None:
    """The real command, SIGKILL, and again. huggingface_hub hands on 10 MB at a time, so the file has three of them."""
    large = weights_of(3, count=6_000_000)
    repo = "xinsir/controlnet-depth-sdxl-1.0"
    remote.add(repo, {"config.json": b"{}", "diffusion_pytorch_model.safetensors": large})
    remote.spoilt["diffusion_pytorch_model.safetensors"] = Spoilt(times=1, holds=15_000_000)
    command = [sys.executable, "-m", "flows", "weights", "pull", "--only", "controlnet_depth"]
    around = {**os.environ, "BACKLOT_HOME": str(tmp_path), "BACKLOT_HUB_URL": remote.url, "HF_HUB_OFFLINE": "0"}
    folder = tmp_path / "weights" / repo
    killed = subprocess.Popen(command, env=around, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    give_up = time.monotonic() + 40
    while not (any(path.stat().st_size >= 10_000_000 for path in folder.glob(".*.partial"))
               and weights_lock.read(tmp_path / "weights")):
        assert time.monotonic() < give_up
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait(10)
    assert set(weights_lock.read(tmp_path / "weights")) == {f"{repo}/config.json"}
    remote.add(repo, {"config.json": b"{}", "diffusion_pytorch_model.safetensors": weights_of(4)})  # newer, not wanted
    remote.asked.clear()
    done = subprocess.run(command, env=around, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert (folder / "diffusion_pytorch_model.safetensors").read_bytes() == large
    assert 10_485_760 in {one.first_byte for one in remote.asked}
    assert "1 file was here already; 1 fetched, verified and pinned." in done.stdout
