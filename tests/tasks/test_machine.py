"""What is recorded of the machine."""

import ast
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from tasks import machine as module
from tasks.machine import LIBRARIES, environment, machine

ROOT = Path(__file__).resolve().parents[2]
NO_PIXELS = {
    "accelerate": "builds modules without memory for their weights",
    "google": "protobuf, whose errors rise as onnx's",
    "httpx2": "errors of the Hub's client",
    "huggingface_hub": "fetches weights",
    "onnx": "checks a graph before onnxruntime runs it",
    "pydantic": "parameters",
    "safetensors": "reads weights, whose digest is in the key",
}
"""Third-party packages that models/ imports and that compute no pixel, and what they do."""


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


def third_party(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    return {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names) - {"models", "storage"}


def test_each_library_by_which_models_compute_pixels_is_recorded() -> None:
    imported = set[str]().union(*map(third_party, (ROOT / "models").rglob("*.py")))
    assert "controlnet_aux" in imported
    providers = metadata.packages_distributions()
    unrecorded = {name for name in imported - set(NO_PIXELS)
                  if not set(map(canonicalize_name, providers[name])) & set(environment(None))}
    assert unrecorded == set()
    assert set(NO_PIXELS) <= imported


def test_so_is_the_one_that_resizes_for_the_depth_model() -> None:
    from transformers import DPTImageProcessor

    assert any(kind.__name__ == "TorchvisionBackend" for kind in DPTImageProcessor.__mro__)
    assert environment(None)["torchvision"] == metadata.version("torchvision")


def test_a_library_that_another_stands_in_for_is_recorded_under_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """onnxruntime-gpu is installed in onnxruntime's place."""
    def version(name: str) -> str:
        if name == "onnxruntime":
            raise metadata.PackageNotFoundError(name)
        return "9"

    monkeypatch.setattr(module.metadata, "version", version)
    assert set(module._versions.__wrapped__()) == set(LIBRARIES) - {"onnxruntime"}
