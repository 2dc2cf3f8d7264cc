"""The pass cut_out with a network of onnxruntime: where it ran is recorded, and it goes down the ladder too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException
from pretended_gpu import pretend_a_gpu

from models.errors import MemoryExhausted
from models.onnx_session import NO_PROVIDER, NOT_STARTED
from models.params import CutOutParams
from storage.answers import PassRow
from storage.records import NewJob
from storage.settings import Settings
from tasks.ladder import NOTES, Rung
from tasks.replay_changes import environment_changes
from tasks.requests import JobRef, Outcome, PassRequest
from tasks.run_pass import put_picture, run_pass
from tasks.services import Services
from tasks.work import prepare

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
TOO_SMALL = ("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Conv node. "
             "Status Message: bfc_arena.cc:376 Failed to allocate memory for requested buffer of size 1073741824")


class Session:
    """As onnxruntime.InferenceSession, of a network that sees a product in the middle of every photo.

    started: the providers that are found when it is made; to_make, to_run: how often the memory is too small for that.
    """

    started: tuple[str, ...] = (CPU,)
    to_make = to_run = 0

    def __init__(self, graph: bytes, options: Any, providers: list[Any]) -> None:
        Session.to_make -= 1
        if self.to_make >= 0:
            raise RuntimeException(TOO_SMALL)
        asked = [one if isinstance(one, str) else one[0] for one in providers]
        self._providers = [one for one in asked if one in self.started]

    def get_providers(self) -> list[str]:
        return self._providers

    def get_inputs(self) -> list[Any]:
        return [SimpleNamespace(name="input_image", shape=[1, 3, 64, 64])]

    def run(self, *_: Any) -> list[Any]:
        Session.to_run -= 1
        if self.to_run >= 0:
            raise RuntimeException(TOO_SMALL)
        logits = np.full((1, 1, 64, 64), -9, np.float32)
        logits[:, :, 16:48, 16:48] = 9
        return [logits]


@pytest.fixture(autouse=True)
def of_this_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    for name in ("started", "to_make", "to_run"):
        monkeypatch.setattr(Session, name, getattr(Session, name))


@pytest.fixture
def provided(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """provided(built, started): what this onnxruntime was built with, and what of it starts, beside a GPU."""
    def provide(built: tuple[str, ...], started: tuple[str, ...]) -> None:
        pretend_a_gpu(monkeypatch)
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(built))
        Session.started = started

    return provide


@pytest.fixture
def here(tmp_path: Path) -> Services:
    return Services(settings=Settings(home=tmp_path, device="cpu"))


def request(here: Services) -> PassRequest:
    here.ledger.open_job(NewJob(job_id="job", pipeline="toy", profile="tiny", requested={}, resolved={},
                                schema_version=1))
    photo = put_picture(here, np.full((96, 128, 3), 90, np.uint8))
    here.ledger.observe_source("job", "file:///a.png", "1", 1, None, photo.digest, photo, "toy")
    return PassRequest(job=JobRef(job_id="job", pipeline="toy", profile="tiny"), at="cut_out", position=1,
                       pass_name="cut_out", params=CutOutParams(backend="neural"), inputs={"photo": photo})


def recorded(here: Services) -> PassRow:
    run_pass(here, [request(here)])[0].value()
    [row] = here.lineage.passes("job")
    return row


@pytest.mark.parametrize(("device", "built", "started", "ran", "note"), [
    ("cuda", (CPU,), (CPU,), "cpu", (NO_PROVIDER,)),
    ("cuda", (CUDA, CPU), (CPU,), "cpu", (NOT_STARTED,)),
    ("cuda", (CUDA, CPU), (CUDA, CPU), "cuda", ()),
    ("cuda:1", (CUDA, CPU), (CUDA, CPU), "cuda:1", ()),
    ("cpu", (CUDA, CPU), (CUDA, CPU), "cpu", ())])
def test_the_device_is_the_one_it_ran_on_and_a_fallback_is_told(
        tmp_path: Path, provided: Callable[..., None], device: str, built: tuple[str, ...], started: tuple[str, ...],
        ran: str, note: tuple[str, ...]) -> None:
    provided(built, started)
    here = Services(settings=Settings(home=tmp_path, device=device))
    row = recorded(here)
    assert (row.device, row.dtype, row.notes) == (ran, "float32", note)


def test_it_is_so_though_the_network_has_left_the_memory_meanwhile(
        tmp_path: Path, provided: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    provided((CPU,), (CPU,))
    here = Services(settings=Settings(home=tmp_path, device="cuda"))
    monkeypatch.setattr(here.zoo, "_capacity", 0)
    assert recorded(here).device == "cpu"
    assert here.zoo.loaded == ()


def test_a_replay_compares_with_where_it_ran_here(tmp_path: Path, provided: Callable[..., None]) -> None:
    provided((CUDA, CPU), (CUDA, CPU))
    made = Services(settings=Settings(home=tmp_path, device="cuda"))
    assert recorded(made).device == "cuda"
    [before] = made.lineage.recorded("job")

    provided((CPU,), (CPU,))
    here = Services(settings=Settings(home=tmp_path, device="cuda"))
    work = prepare(here, PassRequest(
        job=JobRef(job_id="job", pipeline="toy", profile="tiny"), at="cut_out", position=1, pass_name="cut_out",
        params=CutOutParams(backend="neural"), inputs=before.inputs))
    with here.zoo.lease(work.models):
        pass
    changes = {one.part: (one.before, one.after)
               for one in environment_changes(before, work, SimpleNamespace(notes=[]), here.zoo)}  # type: ignore[arg-type]
    assert changes == {"device": ("cuda", "cpu")}


def beside_an_idle_model(here: Services) -> Outcome:
    """A cut-out while the depth model lies in memory."""
    with here.zoo.lease({"depth": here.pinned("tiny")["depth"]}):
        pass
    [outcome] = run_pass(here, [request(here)])
    return outcome


def in_memory(here: Services) -> list[str]:
    return [resident.model.spec.name for resident in here.zoo.loaded]


def test_a_network_that_finds_no_memory_has_idle_models_leave_and_tries_again(here: Services) -> None:
    Session.to_run = 1
    cut = here.picture(beside_an_idle_model(here).value().artifact)
    assert (cut[48, 64, 3], cut[0, 0, 3]) == (255, 0)
    assert here.lineage.passes("job")[0].notes == (NOTES[Rung.ALONE],)
    assert in_memory(here) == ["tiny-matting"]


def test_where_that_is_not_enough_there_is_the_one_clear_error(here: Services) -> None:
    Session.to_run = 9
    error = beside_an_idle_model(here).error
    assert Session.to_run == 7
    assert isinstance(error, MemoryExhausted)
    assert str(error) == (
        "width x height='128 x 96': the memory does not suffice for the pass cut_out (RuntimeException: "
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Conv node); "
        "tried: one picture at a time, without idle models in memory. Use BACKLOT_MATTING=classical, or a GPU with "
        "more memory")


def test_memory_that_runs_out_while_the_session_is_made_is_no_fault_of_its_file(here: Services) -> None:
    Session.to_make = 1
    beside_an_idle_model(here).value()
    assert here.lineage.passes("job")[0].notes == (NOTES[Rung.ALONE],)
    assert in_memory(here) == ["tiny-matting"]
