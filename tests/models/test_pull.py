"""Fetching weights from a Hub on loopback: what comes, what is pinned, and every way it can go wrong."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np
import pytest
from fake_hub import FakeHub, Spoilt, commit_name, fake_hub
from huggingface_hub import constants
from safetensors.numpy import save

from models import hub as hub_module
from models import weights_lock
from models.errors import WeightsError
from models.hub import Hub
from models.profiles import PROFILES, Profile, WeightFile
from models.pull import Plan, Wanted, alone, carry_out, plan
from models.weights import pin, resolve

DEPTH = "depth-anything/Depth-Anything-V2-Small-hf"
UPSCALER = "Comfy-Org/Real-ESRGAN_repackaged"
CONFIG, WEIGHTS = f"{DEPTH}/config.json", f"{DEPTH}/model.safetensors"


def two_models() -> Profile:
    """The sdxl profile cut down to its upscaler (optional) and its depth model."""
    whole = PROFILES["sdxl"]
    file = dataclasses.replace(whole.models["upscaler"].files[0], sha256=None)
    return dataclasses.replace(whole, models={
        "depth": whole.models["depth"], "upscaler": dataclasses.replace(whole.models["upscaler"], files=(file,))})


FILES = two_models().files


def weights_of(seed: int, count: int = 5_000) -> bytes:
    return save({"weight": np.random.default_rng(seed).standard_normal(count, dtype=np.float32)})


def depth_files(seed: int = 1) -> dict[str, bytes]:
    return {"config.json": json.dumps({"seed": seed}).encode(), "preprocessor_config.json": b"{}",
            "model.safetensors": weights_of(seed), "README.md": b"never fetched", "model.bin": b"nor is this"}


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> Generator[FakeHub]:
    """The Hub with both repositories; waiting between tries takes no time."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub_module, "WAITS", (0.0, 0.0, 0.0))
    monkeypatch.setenv("HF_TOKEN", "hf_canary")
    with fake_hub() as serving:
        serving.add(DEPTH, depth_files())
        serving.add(UPSCALER, {"RealESRGAN_x4plus.safetensors": weights_of(2)})
        yield serving


class Watching:
    """Counts what a pull tells."""

    def __init__(self) -> None:
        self.bytes: dict[str, int] = {}
        self.ended: list[str] = []

    def starts(self, one: Wanted) -> None:
        self.bytes[one.file.key] = one.have

    def arrived(self, one: Wanted, count: int) -> None:
        self.bytes[one.file.key] += count

    def ends(self, one: Wanted) -> None:
        self.ended.append(one.file.key)


def pull(remote: FakeHub, folder: Path, *, files: Sequence[WeightFile] = FILES, repin: Sequence[str] = (),
         watch: Watching | None = None) -> Plan:
    hub = Hub(remote.url)
    with alone(folder):
        planned = plan(files, folder, hub, repin=repin)
        carry_out(planned, folder, hub, watch or Watching())
    return planned


def refused(remote: FakeHub, folder: Path, *, files: Sequence[WeightFile] = FILES) -> str:
    """The one line a pull ends in."""
    with pytest.raises(WeightsError) as caught:
        pull(remote, folder, files=files)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def content(folder: Path) -> dict[str, bytes]:
    """Every file that lies under its own name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*")
            if path.is_file() and not path.name.startswith(".") and path.name != weights_lock.NAME}


def everything() -> dict[str, bytes]:
    wanted = {f"{DEPTH}/{path}": data for path, data in depth_files().items()
              if path not in ("README.md", "model.bin")}
    return {**wanted, f"{UPSCALER}/RealESRGAN_x4plus.safetensors": weights_of(2)}


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


def test_the_token_goes_to_the_hub_and_not_to_the_host_it_redirects_to(remote: FakeHub, tmp_path: Path) -> None:
    pull(remote, tmp_path)
    to_other = [one for one in remote.asked if one.path.count("/") == 2 and len(one.path.split("/")[1]) == 64]
    assert len(to_other) == 2
    assert not any(one.token for one in to_other)
    assert all(one.token for one in remote.asked if one not in to_other)


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
    lock = json.loads((tmp_path / weights_lock.NAME).read_text())
    for facts in lock.values():
        del facts["commit"]
    (tmp_path / weights_lock.NAME).unlink()
    (tmp_path / "sdxl.lock.json").write_text(json.dumps(lock))  # as `weights pin` wrote it until 2026-11-21
    (tmp_path / CONFIG).unlink()
    before = content(tmp_path)
    remote.add(DEPTH, depth_files(seed=7))
    told = refused(remote, tmp_path)
    ours, theirs = (hashlib.sha256(weights_of(seed)).hexdigest() for seed in (1, 7))
    assert WEIGHTS in told
    assert f"has the digest {theirs} at commit {commit_name(DEPTH, 1)}, and the lock says {ours}" in told
    assert f"backlot weights pull --repin {DEPTH}" in told
    assert content(tmp_path) == before


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
        assert "another pull is at work in this folder" in refused(remote, tmp_path)
    pull(remote, tmp_path)


def test_a_folder_that_cannot_be_made_is_one_line(remote: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "BACKLOT_WEIGHTS_DIR" in refused(remote, tmp_path / "file" / "weights")


def test_pinning_what_came_by_hand_keeps_the_commit_of_what_did_not_change(remote: FakeHub, tmp_path: Path) -> None:
    pull(remote, tmp_path)
    (tmp_path / CONFIG).write_text('{"mine": 1}')
    pin(two_models(), tmp_path)
    lock = weights_lock.read(tmp_path)
    assert lock[CONFIG].commit is None
    assert lock[WEIGHTS].commit == commit_name(DEPTH, 0)


def test_a_lock_is_replaced_whole_and_takes_the_old_ones_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = {"lab/a/x.json": {"sha256": "a" * 64, "size": 1}}
    (tmp_path / "sdxl.lock.json").write_text(json.dumps(old))
    lock = weights_lock.read(tmp_path)
    new = weights_lock.Pin(sha256="b" * 64, size=2, commit="c" * 40)

    def broken(source: object, target: object) -> None:
        raise OSError(errno.EIO, "no luck")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", broken)
        with pytest.raises(OSError, match="no luck"):
            weights_lock.write(tmp_path, lock | {"lab/a/y.json": new})
    assert weights_lock.read(tmp_path) == lock
    weights_lock.write(tmp_path, lock | {"lab/a/y.json": new})
    assert weights_lock.read(tmp_path) == lock | {"lab/a/y.json": new}
    assert not (tmp_path / "sdxl.lock.json").exists()


@pytest.mark.parametrize("text", ["[]", '{"a": 1}', '{"a": {"sha256": "short", "size": 1}}', '{"a": {"size": 1}}', "{"])
def test_a_lock_of_another_form_is_one_error(tmp_path: Path, text: str) -> None:
    (tmp_path / weights_lock.NAME).write_text(text)
    with pytest.raises(WeightsError, match="the lock file is not JSON of the form"):
        weights_lock.read(tmp_path)


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
