"""The lock of a weights folder: whole or not at all, and the earlier form is read."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from models import weights_lock
from models.alone import alone
from models.errors import WeightsError

OLD = {"lab/a/x.json": {"sha256": "a" * 64, "size": 1}}


def test_a_lock_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = {"lab/a/x.json": weights_lock.Pin(sha256="a" * 64, size=1)}
    weights_lock.write(tmp_path, lock)
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


def test_whoever_changes_the_folder_takes_the_old_locks_over_and_deletes_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "sdxl.lock.json").write_text(json.dumps(OLD))
    (tmp_path / "sdxl-union.lock.json").write_text(json.dumps(OLD | {"lab/a/z.json": {"sha256": "c" * 64, "size": 3}}))
    (tmp_path / "conda.lock.json").write_text('{"another": "program\'s"}')
    lock = weights_lock.read(tmp_path)
    assert set(lock) == {"lab/a/x.json", "lab/a/z.json"}
    with alone(tmp_path):
        assert weights_lock.read(tmp_path) == lock
    assert {path.name for path in tmp_path.iterdir()} == {weights_lock.NAME, "conda.lock.json", ".pull"}


def test_a_lock_that_was_written_while_nobody_had_read_it_is_kept(tmp_path: Path) -> None:
    lock = weights_lock.read(tmp_path)
    (tmp_path / "sdxl.lock.json").write_text(json.dumps(OLD))  # by an older Backlot
    weights_lock.write(tmp_path, lock)
    assert set(weights_lock.read(tmp_path)) == {"lab/a/x.json"}


def test_old_locks_that_disagree_are_one_error_and_neither_is_lost(tmp_path: Path) -> None:
    other = {"lab/a/x.json": {"sha256": "b" * 64, "size": 1}}
    (tmp_path / "sdxl.lock.json").write_text(json.dumps(OLD))
    (tmp_path / "sdxl-union.lock.json").write_text(json.dumps(other))
    with pytest.raises(WeightsError) as caught:
        weights_lock.read(tmp_path)
    told = str(caught.value)
    assert f"sdxl-union.lock.json': pins lab/a/x.json as {'b' * 64}, and sdxl.lock.json beside it as {'a' * 64}" in told
    assert "Delete the lock that is wrong" in told
    with pytest.raises(WeightsError, match="Delete the lock that is wrong"), alone(tmp_path):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"sdxl.lock.json", "sdxl-union.lock.json", ".pull"}


def test_the_one_lock_decides_where_old_ones_say_otherwise(tmp_path: Path) -> None:
    """As after a kill between writing the one and deleting the old: the one is what counted last."""
    pins = {"lab/a/x.json": weights_lock.Pin(sha256="d" * 64, size=4)}
    weights_lock.write(tmp_path, pins)
    for name, letter in (("sdxl", "a"), ("sdxl-union", "b")):
        (tmp_path / f"{name}.lock.json").write_text(json.dumps({"lab/a/x.json": {"sha256": letter * 64, "size": 1}}))
    assert weights_lock.read(tmp_path) == pins
    with alone(tmp_path):
        assert weights_lock.read(tmp_path) == pins
    assert {path.name for path in tmp_path.iterdir()} == {weights_lock.NAME, ".pull"}


@pytest.mark.parametrize("text", ["[]", '{"a": 1}', '{"a": {"sha256": "short", "size": 1}}', '{"a": {"size": 1}}', "{"])
def test_a_lock_of_another_form_is_one_error(tmp_path: Path, text: str) -> None:
    (tmp_path / weights_lock.NAME).write_text(text)
    with pytest.raises(WeightsError, match="the lock file is not JSON of the form"):
        weights_lock.read(tmp_path)
