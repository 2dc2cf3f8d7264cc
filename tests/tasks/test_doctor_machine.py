"""The doctor on machines good and bad: facts as a machine gives them, packages as pip writes them down."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from storage.settings import Settings
from tasks import doctor_machine
from tasks.doctor_machine import disk, gpu, gpu_lines, nearest, python, versions


def install(folder: Path, name: str, version: str, *needs: str) -> None:
    """What pip leaves behind of a package."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
                                         + "".join(f"Requires-Dist: {need}\n" for need in needs))


def test_this_python_is_told() -> None:
    [line] = python()
    assert f"Python {sys.version.split()[0]} on " in line.said


def test_the_packages_of_this_installation_go_together() -> None:
    [line] = versions()
    assert line.verdict == "ok"
    assert "torch 2." in line.said


@pytest.mark.parametrize(("installed", "says"), [
    ({"fastapi": "0.165.0"}, "fastapi 0.165.0, and backlot needs <0.140; prefect 3.8.8's server"),
    ({"prefect": "3.9.1"}, "prefect 3.9.1, and backlot needs ==3.8.8; tasks, states"),
    ({"botocore": "1.43.119"}, "botocore 1.43.119, and aiobotocore needs <1.43.118,>=1.43.115; aiobotocore replaces"),
    ({"ruamel.yaml": None}, "ruamel-yaml is missing, and prefect needs >=0.17"),
    ({"torch": "2.14.0+cpu"}, "torch 2.14.0+cpu and torchvision 0.29.2 are builds for different devices"),
    ({"torch": "2.14.0+cpu", "torchvision": "0.29.2+cu130"}, "builds for different devices"),
])
def test_versions_that_break_each_other_are_named_with_the_reason(
        tmp_path: Path, installed: dict[str, str | None], says: str) -> None:
    whole = {"fastapi": "0.139.2", "prefect": "3.8.8", "botocore": "1.43.117", "aiobotocore": "3.10.0",
             "ruamel.yaml": "0.18", "torch": "2.14.0", "torchvision": "0.29.2", "backlot": "0.1.0"}
    needs = {"backlot": ("fastapi<0.140", "prefect==3.8.8", "torch==2.14.0", "pytest; extra == 'dev'"),
             "aiobotocore": ("botocore>=1.43.115,<1.43.118",), "prefect": ("ruamel-yaml>=0.17",),
             "torchvision": ("torch==2.14.0",)}
    for name, version in {**whole, **installed}.items():
        if version is not None:
            install(tmp_path, name, version, *needs.get(name, ()))
    [line] = versions([str(tmp_path)])
    assert line.verdict == "failed"
    assert line.said.startswith(says) or says in line.said
    assert line.remedy


def test_builds_of_one_index_go_together(tmp_path: Path) -> None:
    for name, version in (("backlot", "0.1.0"), ("torch", "2.14.0+cpu"), ("torchvision", "0.29.2+cpu")):
        install(tmp_path, name, version)
    assert [line.verdict for line in versions([str(tmp_path)])] == ["ok"]


def test_a_source_tree_that_is_not_installed_is_noted(tmp_path: Path) -> None:
    [line] = versions([str(tmp_path)])
    assert line.verdict == "warning"


def facts(*devices: dict[str, Any], cuda: str | None = "13.0", said: str = "") -> dict[str, Any]:
    return {"torch": "2.14.0", "cuda": cuda, "said": said, "devices": list(devices)}


H200 = {"name": "NVIDIA H200", "bytes": 150_754_820_096, "free": 149_000_000_000, "fault": None}


def test_a_gpu_is_told_with_memory_and_driver() -> None:
    [line] = gpu_lines(facts(H200), "580.65.06", "auto")
    assert (line.verdict, line.said) == ("ok", "cuda:0 NVIDIA H200, 140 GiB (139 free), driver 580.65.06, torch 2.14.0 "
                                         "for CUDA 13.0")


@pytest.mark.parametrize(("told", "driver", "device", "verdict", "says"), [
    (facts(), None, "auto", "ok", "fine for the tiny profile"),
    (facts(cuda=None), None, "cpu", "ok", "fine for the tiny profile"),
    (facts(), None, "cuda:1", "failed", "BACKLOT_DEVICE says cuda:1, and no GPU is found here"),
    (facts(cuda=None), "580.65.06", "auto", "failed", "driver 580.65.06, and this is torch 2.14.0 for the CPU alone"),
    (facts(said="The NVIDIA driver on your system is too old"), "470.1", "auto", "failed",
     "cannot use it. The NVIDIA driver"),
    (facts(H200, {**H200, "fault": "CUDA error: no kernel image\nis available"}), "580", "auto", "ok", "cuda:0"),
    (facts({**H200, "fault": "CUDA error: no kernel image\nis available"}), "580", "auto", "failed",
     "does not compute: CUDA error: no kernel image is available"),
])
def test_a_gpu_that_cannot_be_used_says_why(told: dict[str, Any], driver: str | None, device: str, verdict: str,
                                            says: str) -> None:
    lines = gpu_lines(told, driver, device)
    assert lines[0].verdict == verdict
    assert says in lines[0].said
    assert bool(lines[0].remedy) == (verdict != "ok")
    assert len(lines) == max(1, len(told["devices"]))


def test_torch_is_asked_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    [line] = gpu("auto")
    assert line.about == "gpu"
    assert "torch 2." in line.said
    monkeypatch.setattr(doctor_machine, "TORCH_SECONDS", 0.05)
    assert gpu("auto")[0].said == "torch did not answer within 0.05 s"


def test_a_torch_that_cannot_be_loaded_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('libcudart.so.13: cannot open shared object file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    [line] = gpu("auto")
    assert line.verdict == "failed"
    assert line.said == "torch cannot be loaded (ImportError: libcudart.so.13: cannot open shared object file)"


def test_each_disk_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_machine, "LEAST_FREE", 0.0)  # however full this machine's is
    (tmp_path / "artifacts").mkdir()
    [line] = disk(Settings(home=tmp_path, outputs_url=str(tmp_path / "not" / "there")))
    assert line.said.endswith(f"GB are free at {tmp_path}")


def test_a_full_disk_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_machine, "LEAST_FREE", 1.0)  # no disk is as empty as that
    [line] = disk(Settings(home=tmp_path))
    assert line.verdict == "warning"


def test_the_nearest_folder_is_itself_or_above(tmp_path: Path) -> None:
    assert nearest(tmp_path) == tmp_path
    assert nearest(tmp_path / "a" / "b" / "c") == tmp_path
