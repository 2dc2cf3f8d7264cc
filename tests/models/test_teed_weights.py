"""The one pickle among the weights: read only where it is the file that the table knows, and never with code in it."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models import loaders, tiny
from models.control_maps import lines
from models.errors import WeightsError
from models.params import LinesParams
from models.passes import PassContext
from models.profiles import PROFILES, Profile
from models.safetensors_check import check_file
from models.weights import PinnedModel, pin, resolve

KEY = "TheMistoAI/MistoLine/Anyline/MTEED.pth"


def saved(what: Any) -> bytes:
    """As torch.save of our day writes it: a zip."""
    written = io.BytesIO()
    torch.save(what, written)
    return written.getvalue()


def laid_out(root: Path, data: bytes, *, known: bytes | None = None) -> Profile:
    """A profile of nothing but TEED whose table knows `known` (data unless given); data lie where its file belongs."""
    whole = PROFILES["sdxl"]
    file = dataclasses.replace(whole.models["lines"].files[0], sha256=hashlib.sha256(known or data).hexdigest())
    (root / KEY).parent.mkdir(parents=True, exist_ok=True)
    (root / KEY).write_bytes(data)
    return dataclasses.replace(whole, models={"lines": dataclasses.replace(whole.models["lines"], files=(file,))})


def load(model: PinnedModel, *, check: bool = True) -> Any:
    return loaders.load(model, device="cpu", dtype=torch.bfloat16, check=check)


def test_it_comes_back_as_it_was_saved_in_float32_and_draws_the_same_lines(
        tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    profile = laid_out(tmp_path, saved(tiny.teed().state_dict()))
    pin(profile, tmp_path)
    ours = load(resolve(profile, tmp_path)["lines"])
    theirs = tiny.teed()
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in ours.state_dict().items())
    assert {parameter.dtype for parameter in ours.parameters()} == {torch.float32}
    assert not ours.training
    placed = np.random.default_rng(0).integers(0, 256, (96, 160, 4), dtype=np.uint8)
    placed[:, :, 3] = 255
    made = [lines(LinesParams(detector="teed"), PassContext(models={"lines": network}), placed=placed)
            for network in (ours, theirs)]
    assert (made[0] == made[1]).all()
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_the_table_tells_the_size_that_this_network_takes() -> None:
    """58,910 numbers and the zip around them: the published file holds this network and no more."""
    assert abs(len(saved(tiny.teed().state_dict())) - PROFILES["sdxl"].models["lines"].files[0].size_bytes) < 1000


def test_real_profiles_share_the_row_and_leave_it_out_where_nobody_fetched_it(tmp_path: Path) -> None:
    assert PROFILES["sdxl-union"].models["lines"] is PROFILES["sdxl"].models["lines"]
    profile = laid_out(tmp_path, b"anything")
    (tmp_path / KEY).unlink()
    assert resolve(profile, tmp_path) == {}


class Canary:
    """Unpickled, it would leave a folder behind."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self._path),)


@pytest.mark.parametrize("kind", ["torch", "old torch", "pickle"])
@pytest.mark.parametrize("check", [True, False], ids=["hashed", "not hashed"])
def test_another_pickle_is_never_opened(tmp_path: Path, kind: str, check: bool) -> None:
    """Though it was pinned, so that the user's own lock says its digest."""
    canary = tmp_path / "canary"
    data = {"torch": saved({"weight": torch.zeros(2), "canary": Canary(canary)}), "old torch": b"",
            "pickle": pickle.dumps(Canary(canary))}[kind]
    if kind == "old torch":
        written = io.BytesIO()
        torch.save({"canary": Canary(canary)}, written, _use_new_zipfile_serialization=False)
        data = written.getvalue()
    profile = laid_out(tmp_path, data, known=b"the real file")
    spec = profile.models["lines"]
    model = PinnedModel(spec=spec, digest="0" * 64, folder=tmp_path, sha256={KEY: hashlib.sha256(data).hexdigest()})
    with pytest.raises(WeightsError, match=r"MTEED.pth is a pickle, and not the one that the table of weights knows"):
        load(model, check=check)
    with pytest.raises(WeightsError, match="is a pickle, and not the one"):
        pin(profile, tmp_path)
    assert not canary.exists()


def test_code_does_not_run_even_in_a_pickle_that_the_table_knows(tmp_path: Path) -> None:
    """A mistake in the table must not be enough: the reader builds tensors and nothing else."""
    canary = tmp_path / "canary"
    profile = laid_out(tmp_path, saved({"weight": torch.zeros(2), "canary": Canary(canary)}))
    pin(profile, tmp_path)
    model = resolve(profile, tmp_path)["lines"]
    with pytest.raises(WeightsError, match=r"MTEED.pth does not fill TEED's network: Weights only load fail") as caught:
        load(model)
    assert "\n" not in str(caught.value)
    assert not canary.exists()


@pytest.mark.parametrize("spoil", ["lacking", "another shape", "a list"])
def test_tensors_of_another_network_are_one_error(tmp_path: Path, spoil: str) -> None:
    state: Any = tiny.teed().state_dict()
    if spoil == "lacking":
        del state["block_1.conv1.weight"]
    elif spoil == "another shape":
        state["block_1.conv1.weight"] = torch.zeros(3)
    else:
        state = list(state.values())
    profile = laid_out(tmp_path, saved(state))
    pin(profile, tmp_path)
    with pytest.raises(WeightsError, match=r"weights_dir=.*MTEED.pth does not fill TEED's network"):
        load(resolve(profile, tmp_path)["lines"])


def test_a_pickle_whose_digest_nobody_knows_is_refused(tmp_path: Path) -> None:
    profile = laid_out(tmp_path, saved({}))
    unknown = dataclasses.replace(profile.files[0], sha256=None)
    with pytest.raises(WeightsError, match="is a pickle, and not the one"):
        check_file(tmp_path / KEY, unknown)
