"""A machine whose torch says that it has a GPU of 80 GiB. Nothing can be computed on it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

MEMORY = 80 * 1024**3


def pretend_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, answer in {"is_available": True, "get_device_properties": SimpleNamespace(total_memory=MEMORY),
                         "max_memory_allocated": 12345, "reset_peak_memory_stats": None, "empty_cache": None}.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, answer=answer: answer)
