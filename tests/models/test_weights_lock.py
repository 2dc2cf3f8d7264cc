"""The lock of a weights folder: whole or not at all, and the earlier form is read."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from models import weights_lock
from models.errors import WeightsError


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
