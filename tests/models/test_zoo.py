"""The zoo: loaded once, shared by digest, least recently used out first, leased ones never."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import torch
from pretended_gpu import MEMORY, pretend_a_gpu

from models.errors import PassError
from models.profiles import PROFILES, ModelSpec
from models.weights import PinnedModel, resolve
from models.zoo import CPU_BYTES, GPU_SHARE, Zoo

KILOBYTE = 1000


class Keeper:
    """A loader of one-kilobyte modules that remembers what it was asked for and how many calls were under way."""

    def __init__(self, *, seconds: float = 0.0) -> None:
        self.calls: list[str] = []
        self.most_at_once = 0
        self._under_way = 0
        self._seconds = seconds

    def __call__(self, model: PinnedModel, *, device: str, dtype: torch.dtype) -> torch.nn.Module:
        self.calls.append(model.spec.name)
        self._under_way += 1
        self.most_at_once = max(self.most_at_once, self._under_way)
        time.sleep(self._seconds)
        self._under_way -= 1
        return torch.nn.Linear(KILOBYTE // 4, 1, bias=False, device=device, dtype=dtype)


def animal(name: str, digest: str | None = None) -> PinnedModel:
    spec = ModelSpec(name=name, kind="controlnet", source="tiny")
    return PinnedModel(spec=spec, digest=digest or spec.digest({}), size_bytes=KILOBYTE)


def names(zoo: Zoo) -> list[str]:
    return [resident.model.spec.name for resident in zoo.loaded]


def room_for(animals: int, keeper: Keeper) -> Zoo:
    return Zoo(device="cpu", capacity_bytes=animals * KILOBYTE, load=keeper)


def test_a_lease_gives_the_loaded_objects_by_role() -> None:
    zoo = Zoo(device="cpu")
    pinned = resolve(PROFILES["tiny"], Path("no-such-folder"))
    with zoo.lease({role: pinned[role] for role in ("depth", "upscaler")}) as models:
        assert type(models["depth"].model).__name__ == "DepthAnythingForDepthEstimation"
        assert models["upscaler"].scale == 4
        assert [resident.leases for resident in zoo.loaded] == [1, 1]
        assert all(resident.size_bytes > KILOBYTE for resident in zoo.loaded)
    assert [resident.leases for resident in zoo.loaded] == [0, 0]


def test_passes_that_name_the_same_digest_share_one_object() -> None:
    keeper = Keeper()
    zoo = room_for(9, keeper)
    with zoo.lease({"sdxl": animal("lion")}) as first, zoo.lease({"other": animal("lion")}) as second:
        assert first["sdxl"] is second["other"]
        assert zoo.loaded[0].leases == 2
    with zoo.lease({"sdxl": animal("lion")}) as third:
        assert third["sdxl"] is first["sdxl"]
    assert keeper.calls == ["lion"]


def test_one_name_with_two_digests_is_two_models() -> None:
    keeper = Keeper()
    zoo = room_for(9, keeper)
    with zoo.lease({"old": animal("lion", "a"), "new": animal("lion", "b")}) as models:
        assert models["old"] is not models["new"]
    assert keeper.calls == ["lion", "lion"]


def test_the_least_recently_used_leaves_first() -> None:
    zoo = room_for(2, Keeper())
    for name in ("lion", "zebra", "lion", "giraffe"):
        with zoo.lease({"role": animal(name)}):
            pass
    assert names(zoo) == ["lion", "giraffe"]


def test_a_leased_model_never_leaves_even_when_room_is_short() -> None:
    keeper = Keeper()
    zoo = room_for(2, keeper)
    with zoo.lease({"role": animal("lion")}) as held:
        for name in ("zebra", "giraffe", "okapi"):
            with zoo.lease({"role": animal(name)}):
                assert "lion" in names(zoo)
                assert len(names(zoo)) <= 2
        with zoo.lease({"role": animal("lion")}) as again:
            assert again["role"] is held["role"]
    assert keeper.calls.count("lion") == 1


def test_what_is_leased_together_may_exceed_the_room_and_shrinks_back_afterwards() -> None:
    zoo = room_for(1, Keeper())
    with zoo.lease({name: animal(name) for name in ("lion", "zebra", "giraffe")}) as models:
        assert len(models) == len(zoo.loaded) == 3
    assert names(zoo) == ["giraffe"]


def test_an_evicted_model_is_loaded_anew() -> None:
    keeper = Keeper()
    zoo = room_for(1, keeper)
    for name in ("lion", "zebra", "lion"):
        with zoo.lease({"role": animal(name)}):
            pass
    assert keeper.calls == ["lion", "zebra", "lion"]


def test_room_is_made_before_a_model_comes_and_not_after() -> None:
    seen: list[list[str]] = []
    keeper = Keeper()
    with_room: list[Zoo] = []

    def look(model: PinnedModel, *, device: str, dtype: torch.dtype) -> Any:
        seen.append([resident.model.spec.name for resident in with_room[0]._residents.values()])
        return keeper(model, device=device, dtype=dtype)

    with_room.append(Zoo(device="cpu", capacity_bytes=KILOBYTE, load=look))
    for name in ("lion", "zebra"):
        with with_room[0].lease({"role": animal(name)}):
            pass
    assert seen == [[], []]


def test_many_threads_load_one_model_at_a_time_and_each_once() -> None:
    keeper = Keeper(seconds=0.02)
    zoo = room_for(9, keeper)
    start = Barrier(8)

    def work(index: int) -> None:
        start.wait()
        with zoo.lease({"role": animal("lion" if index % 2 else "zebra")}):
            pass

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert sorted(keeper.calls) == ["lion", "zebra"]
    assert keeper.most_at_once == 1
    assert [resident.leases for resident in zoo.loaded] == [0, 0]


def test_a_pass_that_fails_gives_its_models_back() -> None:
    zoo = room_for(9, Keeper())
    with pytest.raises(KeyError), zoo.lease({"role": animal("lion")}):
        raise KeyError("the pass")
    assert [resident.leases for resident in zoo.loaded] == [0]


def test_a_model_that_cannot_be_loaded_leaves_the_others_of_its_lease_unleased() -> None:
    keeper = Keeper()

    def fussy(model: PinnedModel, **settings: Any) -> Any:
        if model.spec.name == "dodo":
            raise RuntimeError("no such animal")
        return keeper(model, **settings)

    zoo = Zoo(device="cpu", load=fussy)
    with pytest.raises(RuntimeError, match="no such animal"), zoo.lease({"a": animal("lion"), "b": animal("dodo")}):
        pass
    assert names(zoo) == ["lion"]
    assert zoo.loaded[0].leases == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for a machine without a GPU")
def test_without_a_gpu_auto_means_float32_on_the_cpu_and_cuda_is_one_clear_error() -> None:
    zoo = Zoo(load=Keeper())
    assert (zoo.device, zoo.dtype) == ("auto", "auto")
    with zoo.lease({"role": animal("lion")}) as models:
        assert models["role"].weight.dtype == torch.float32
    assert (zoo.device, zoo.dtype, zoo.peak_memory()) == ("cpu", "float32", None)
    with pytest.raises(PassError, match="device='cuda': torch finds no GPU here"), \
            Zoo(device="cuda", load=Keeper()).lease({"role": animal("lion")}):
        pass


def test_a_chosen_dtype_reaches_the_loader() -> None:
    with Zoo(device="cpu", dtype="bfloat16", load=Keeper()).lease({"role": animal("lion")}) as models:
        assert models["role"].weight.dtype == torch.bfloat16


@pytest.mark.parametrize(("asked", "given"), [
    ({}, ("cuda", torch.bfloat16)), ({"device": "cuda:1"}, ("cuda:1", torch.bfloat16)),
    ({"device": "cpu"}, ("cpu", torch.float32)), ({"dtype": "float16"}, ("cuda", torch.float16)),
    ({"dtype": "float32"}, ("cuda", torch.float32))], ids=str)
def test_where_torch_has_a_gpu_auto_means_bfloat16_on_it_and_a_share_of_its_memory(
        monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any], given: tuple[str, torch.dtype]) -> None:
    pretend_a_gpu(monkeypatch)
    loaded: list[tuple[str, torch.dtype]] = []

    def load(model: PinnedModel, *, device: str, dtype: torch.dtype) -> torch.nn.Module:
        loaded.append((device, dtype))
        return torch.nn.Linear(1, 1)

    zoo = Zoo(load=load, **asked)
    with zoo.lease({"role": animal("lion")}):
        assert loaded == [given]
    assert (zoo.device, zoo.dtype) == (given[0], str(given[1]).removeprefix("torch."))
    assert zoo._capacity == (GPU_SHARE * MEMORY if given[0] != "cpu" else CPU_BYTES)
    assert zoo.offloads == (given[0] != "cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_weights_are_bfloat16_and_the_peak_is_counted_from_the_lease_on() -> None:
    zoo = Zoo()
    pinned = resolve(PROFILES["tiny"], Path("no-such-folder"))
    with zoo.lease({"sdxl": pinned["sdxl"]}) as models:
        assert (zoo.device, zoo.dtype) == ("cuda", "bfloat16")
        assert models["sdxl"].unet.dtype == torch.bfloat16
        before = zoo.peak_memory()
        torch.empty(8_000_000, dtype=torch.uint8, device="cuda")
        assert before is not None
        assert (zoo.peak_memory() or 0) >= before + 8_000_000
    with zoo.lease({"sdxl": pinned["sdxl"]}):
        assert (zoo.peak_memory() or 0) < before + 8_000_000


def test_no_torch_is_imported_until_a_model_is_leased() -> None:
    script = ("import sys; from pathlib import Path\n"
              "from models.weights import PROFILES, resolve; from models.zoo import Zoo\n"
              "zoo = Zoo(); pinned = resolve(PROFILES['tiny'], Path('none'))\n"
              "with zoo.lease({}) as models: print(dict(models), zoo.loaded, zoo.peak_memory())\n"
              "print('torch' in sys.modules)\n"
              "with zoo.lease({'upscaler': pinned['upscaler']}): print('torch' in sys.modules)")
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == ["{} () None", "False", "True"]


def test_freeing_drops_what_nobody_leases_and_nothing_else() -> None:
    zoo = room_for(5, Keeper())
    with zoo.lease({"a": animal("leased"), "b": animal("idle")}):
        pass
    with zoo.lease({"a": animal("leased")}):
        zoo.free()
        assert names(zoo) == ["leased"]
    zoo.free()
    assert zoo.loaded == ()
