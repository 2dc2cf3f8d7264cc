"""No way leads from a file of weights to code: read off the source of the four packages (G26)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from models.profiles import PROFILES

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(path for package in ("models", "storage", "tasks", "flows") for path in (ROOT / package).rglob("*.py"))

UNPICKLING = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
READ_NO_WEIGHTS = {"CLIPTokenizer", "DPTImageProcessor"}
"""Classes whose from_pretrained reads JSON and text only, and would keep use_safetensors as a setting of theirs."""


RESTRICTED = {"map_location": "'cpu'", "weights_only": "True"}
"""How torch.load may be called, and by whom: see the last test here."""


def faults(source: str) -> list[str]:
    """What in this source could let weights bring code, or be fetched unseen."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.partition(".")[0] in UNPICKLING]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in UNPICKLING:
            found.append(f"from {node.module}")
        elif isinstance(node, ast.Call):
            found += _faults_of_call(node)
    return found


def _faults_of_call(call: ast.Call) -> list[str]:
    name = ast.unparse(call.func)
    given = {word.arg: ast.unparse(word.value) for word in call.keywords}
    if name == "torch.load" and given == RESTRICTED:
        return []
    found = [f"{word}={value}" for word, value in given.items()
             if word in ("trust_remote_code", "custom_pipeline", "custom_revision", "allow_pickle", "pickle_module",
                         "weights_only", "allow_all_kernels", "force_download", "token")]
    if name in ("torch.load", "torch.jit.load", "torch.hub.load", "np.load", "numpy.load", "eval", "exec",
                "__import__") or name.endswith((".load_from_file", ".load_lora_weights", "load_textual_inversion")):
        found.append(name)
    if name.endswith(("from_pretrained", "from_single_file")):
        kind = name.rpartition(".")[0]
        if given.get("local_files_only") != "True":
            found.append(f"{name} may fetch")
        if kind not in READ_NO_WEIGHTS and given.get("use_safetensors") != "True":
            found.append(f"{name} may unpickle")
        if kind.startswith("Auto"):
            found.append(f"{name} follows auto_map")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_of_the_four_packages_opens_a_way(path: Path) -> None:
    assert faults(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("source", [
    "import pickle", "from pickle import loads", "import torch\ntorch.load('a.pt')", "np.load('a.npy')",
    "torch.load('a.pt', map_location='cpu')",
    "UNet.from_pretrained(f, use_safetensors=True)", "UNet.from_pretrained(f, local_files_only=True)",
    "UNet.from_pretrained(f, local_files_only=True, use_safetensors=None)",
    "AutoModel.from_pretrained(f, local_files_only=True, use_safetensors=True)",
    "CLIPTokenizer.from_pretrained(f)", "Pipe.from_pretrained(f, custom_pipeline='evil', local_files_only=True, "
    "use_safetensors=True)", "kind(f, trust_remote_code=False)", "ModelLoader().load_from_file(f)"])
def test_each_way_would_be_seen(source: str) -> None:
    assert len(faults(source)) == 1


def test_the_loaders_own_calls_are_among_what_is_read() -> None:
    calls = [node for node in ast.walk(ast.parse((ROOT / "models/loaders.py").read_text(encoding="utf-8")))
             if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("from_pretrained")]
    assert len(calls) >= 5


def test_one_loader_unpickles_and_what_is_no_safetensors_is_known_by_its_digest() -> None:
    calls = [path.name for path in FILES for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
             if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"]
    assert calls == ["loaders.py"]
    others = {file.key: file.sha256 for profile in PROFILES.values() for file in profile.files
               if not file.path.endswith((".safetensors", ".json", ".txt"))}
    assert sorted(others) == ["TheMistoAI/MistoLine/Anyline/MTEED.pth",
                              "onnx-community/BiRefNet_lite-ONNX/onnx/model.onnx"]
    assert all(others.values())
