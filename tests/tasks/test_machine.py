"""What is recorded of the machine."""

import sys

import pytest

from tasks.machine import environment, machine


def test_the_processor_is_named_and_threads_are_torchs_own() -> None:
    import torch

    found = machine()
    assert found["processor"]
    assert found["threads"] == str(torch.get_num_threads())
    assert "gpu" not in found or torch.cuda.is_initialized()
    assert environment(None).items() >= found.items()
    assert environment(None)["torch"]


def test_torch_is_not_loaded_to_ask_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert set(machine()) == {"processor"}
    assert "torch" not in sys.modules
