"""The real passes on tiny weights, short of memory on purpose: real torch.OutOfMemoryError, real store, real SQLite."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fingerprint import fingerprint

from models.errors import MemoryExhausted
from models.params import DepthParams, PassParams, RelightParams, SdxlParams, UpscaleParams
from models.pictures import Picture
from models.sdxl.text import encode_prompts
from models.zoo import Zoo
from storage.records import Artifact, NewJob
from storage.settings import Settings
from tasks.ladder import NOTES, REMEMBERED_SECONDS, Ladder, Place, Rung, rungs_for
from tasks.progress import Event, Warned, listening
from tasks.requests import JobRef, Outcome, PassRequest
from tasks.run_pass import put_picture, run_pass
from tasks.services import Services

SIDE = 128
SDXL: dict[str, Any] = {"prompt": "a bottle", "negative_prompt": "", "steps": 2, "strength": 1.0, "guidance_scale": 4.0,
                        "pag_scale": 2.0, "outpaint_scale": 0.5, "depth_scale": 0.5, "line_scale": 0.5,
                        "brightness": 0.0}


JOBS = count()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    """With a CPU that pretends there is a device to bring weights to."""
    monkeypatch.setattr(Zoo, "offloads", property(lambda self: True))
    services = Services(settings=Settings(home=tmp_path, device="cpu", lease_seconds=30))
    services.ladder = Ladder(Clock())
    return services


SHOWN = {"placed": (1, 4), "product": (1, 4), "placed_large": (4, 4)}
"""Role -> its size in working pictures, and its channels; others are (1, 3)."""


def drawn(times: int = 1, channels: int = 3, side: int = SIDE) -> Picture:
    side *= times
    rows, columns = np.mgrid[0:side, 0:side]
    levels = [60 + 100 * ((columns // 16) % 2), 60 + rows, 200 - columns,
              255 * (np.hypot(rows - side / 2, columns - side / 2) < side / 3)]
    return np.asarray(np.dstack(levels[:channels]) % 256, dtype=np.uint8)


def stored(here: Services, job_id: str, picture: Picture) -> Artifact:
    artifact = put_picture(here, picture)
    here.ledger.observe_source(job_id, f"file:///{artifact.digest}.png", "1", 1, None, artifact.digest, artifact, "toy")
    return artifact


PASSES: Mapping[str, Callable[[int], tuple[PassParams, tuple[str, ...]]]] = {
    "sdxl": lambda seed: (SdxlParams(**SDXL, seed=seed), ("placed", "outpaint", "lines", "depth")),
    "relight": lambda seed: (RelightParams(prompt="a bottle", negative_prompt="bad", seed=seed, steps=2,
                                           guidance_scale=7.0), ("placed", "scene")),
    "depth": lambda seed: (DepthParams(), ("scene",)),
    "upscale": lambda seed: (UpscaleParams(light_mix_scale=0.5), ("placed", "lit", "product", "placed_large")),
}


def asked(here: Services, name: str = "sdxl", seed: int = 1, side: int = SIDE) -> PassRequest:
    """A request of a new job that wants its picture made anew."""
    params, roles = PASSES[name](seed)
    job = f"job-{next(JOBS)}"
    here.ledger.open_job(NewJob(job_id=job, pipeline="toy", profile="tiny", requested={}, resolved={},
                                schema_version=1))
    return PassRequest(
        job=JobRef(job_id=job, pipeline="toy", profile="tiny", refresh=(name,)), at=name, position=1, pass_name=name,
        params=params, inputs={role: stored(here, job, drawn(*SHOWN.get(role, (1, 3)), side)) for role in roles})


def models(here: Services) -> dict[str, Any]:
    """What the zoo has in memory now."""
    return {resident.model.spec.name: resident.loaded for resident in here.zoo.loaded}


def part(here: Services, name: str) -> torch.nn.Module:
    """The module that a pass always calls. transformers' text encoders keep hooks, which do nothing, from their first
    call on; so they are called here."""
    pinned = here.pinned("tiny")
    with here.zoo.lease({role: pinned[role] for role in ROLES[name]}) as loaded, torch.inference_mode():
        if name == "sdxl":
            encode_prompts(loaded["sdxl"], ["a"], [""])
        found: torch.nn.Module = WHERE[name](loaded)
    return found


ROLES = {"sdxl": ("sdxl", "controlnet_outpaint", "controlnet_lines", "controlnet_depth"), "relight": ("iclight_fbc",),
         "depth": ("depth",), "upscale": ("upscaler",)}
WHERE: Mapping[str, Callable[[Any], Any]] = {
    "sdxl": lambda loaded: loaded["sdxl"].vae.decoder, "relight": lambda loaded: loaded["iclight_fbc"].vae.decoder,
    "depth": lambda loaded: loaded["depth"].model.neck, "upscale": lambda loaded: loaded["upscaler"].model}


@contextmanager
def too_small(module: torch.nn.Module, full: Callable[[tuple[torch.Tensor, ...]], bool]) -> Generator[list[int]]:
    """torch.OutOfMemoryError out of the module's forward whenever full(its inputs); counts how often."""
    times: list[int] = []

    def refuse(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if full(inputs):
            times.append(1)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    hook = module.register_forward_pre_hook(refuse)
    try:
        yield times
    finally:
        hook.remove()


def first(times: int) -> Callable[[tuple[torch.Tensor, ...]], bool]:
    """Too small for so many calls."""
    left = [times]

    def full(inputs: tuple[torch.Tensor, ...]) -> bool:
        left[0] -= 1
        return left[0] >= 0

    return full


def only(outcomes: list[Outcome], here: Services) -> Picture:
    return here.picture(outcomes[0].value().artifact).copy()


def notes(here: Services, outcomes: list[Outcome]) -> tuple[str, ...]:
    """Of memory; upscale always says something of the photo."""
    told = here.lineage.passes(outcomes[0].request.job.job_id)[0].notes
    return tuple(note for note in told if not note.startswith("the photo has "))


def off(one: Picture, other: Picture) -> int:
    return int(np.abs(one.astype(int) - other).max())


@pytest.mark.parametrize("name", PASSES)
def test_a_pass_leaves_its_models_exactly_as_they_were(here: Services, name: str) -> None:
    part(here, name)
    before = fingerprint(models(here))
    only(run_pass(here, [asked(here, name)]), here)
    assert fingerprint(models(here)) == before
    assert len(before) > 10


@pytest.mark.parametrize("error", [KeyError("midway"), KeyboardInterrupt()])
@pytest.mark.parametrize("name", PASSES)
def test_so_does_a_pass_that_ends_midway(here: Services, name: str, error: BaseException) -> None:
    module = part(here, name)
    before = fingerprint(models(here))

    def fail(*_: Any) -> None:
        raise error

    hook = module.register_forward_hook(fail)
    try:
        if isinstance(error, KeyboardInterrupt):
            with pytest.raises(KeyboardInterrupt):
                run_pass(here, [asked(here, name)])
        else:
            assert run_pass(here, [asked(here, name)])[0].error is error
    finally:
        hook.remove()
    assert fingerprint(models(here)) == before


@pytest.mark.parametrize("name", ["sdxl", "relight"])
def test_each_rung_makes_the_picture_and_is_told(here: Services, name: str) -> None:
    module = part(here, name)
    before, made = fingerprint(models(here)), dict[Rung, Picture]()
    for rung in Rung:
        here.ladder = Ladder()
        seen: list[Event] = []
        with too_small(module, first(int(rung))) as times, listening(seen.append):
            outcomes = run_pass(here, [asked(here, name)])
        made[rung] = only(outcomes, here)
        assert len(times) == rung
        assert notes(here, outcomes) == ((NOTES[rung],) if rung else ())
        assert [event.text for event in seen if isinstance(event, Warned)] == [
            f"{name}: {NOTES[taken]}" for taken in Rung if 0 < taken <= rung]
        assert fingerprint(models(here)) == before
    assert off(made[Rung.FREELY], made[Rung.ALONE]) <= 1
    assert off(made[Rung.TILED], made[Rung.OFFLOADED]) <= 1
    # Tiles of 64 px under random weights, as coarse as it gets; IC-Light's amplify what its condition's encoding moved.
    moved = np.abs(made[Rung.FREELY].astype(int) - made[Rung.TILED]).mean()
    assert 0 < moved < (12 if name == "sdxl" else 60)


@pytest.mark.parametrize("name", ["depth", "upscale"])
def test_a_pass_without_a_vae_goes_from_idle_models_to_offloading(here: Services, name: str) -> None:
    whole = only(run_pass(here, [asked(here, name)]), here)
    module = part(here, name)
    before = fingerprint(models(here))
    with too_small(module, first(2)):
        outcomes = run_pass(here, [asked(here, name)])
    assert off(only(outcomes, here), whole) <= 1
    assert notes(here, outcomes) == (NOTES[Rung.OFFLOADED],)
    assert fingerprint(models(here)) == before


def test_tiles_help_where_the_whole_picture_does_not_fit(here: Services) -> None:
    """The decoder refuses more than a quarter of the picture at once, as a small GPU would."""
    sizes: list[int] = []

    def full(inputs: tuple[torch.Tensor, ...]) -> bool:
        sizes.append(inputs[0][0, 0].numel())
        return sizes[-1] > (SIDE // 16) ** 2

    with too_small(part(here, "sdxl"), full) as times:
        only(run_pass(here, [asked(here)]), here)
    assert len(times) == 2
    assert max(sizes[2:]) == 64
    assert len(sizes[2:]) == 9, "three by three, for they overlap"


def test_after_the_last_rung_one_error_says_what_was_tried_and_the_models_are_as_before(here: Services) -> None:
    module = part(here, "sdxl")
    before = fingerprint(models(here))
    with too_small(module, lambda inputs: True) as times:
        [outcome] = run_pass(here, [asked(here)])
    assert len(times) == 4
    assert isinstance(outcome.error, MemoryExhausted)
    assert str(outcome.error) == (
        "width x height='128 x 128': the memory does not suffice for the pass sdxl (OutOfMemoryError: CUDA out of "
        "memory); tried: one picture at a time, without idle models in memory, the VAE in tiles, the weights offloaded "
        "to the CPU. Use a smaller width or height, the profile sdxl-union (one ControlNet for three), or a GPU with "
        "more memory")
    assert fingerprint(models(here)) == before
    with too_small(module, lambda inputs: False):
        assert run_pass(here, [asked(here)])[0].error is None, "the key is free again"


def test_a_batch_is_halved_before_anything_else_and_its_pictures_are_the_same(here: Services) -> None:
    alone = [only(run_pass(here, [asked(here, seed=seed)]), here) for seed in (1, 2, 3)]
    rows: list[int] = []

    def full(inputs: tuple[torch.Tensor, ...]) -> bool:
        rows.append(len(inputs[0]))
        return rows[-1] > 1

    with too_small(part(here, "sdxl"), full):
        made, again = (run_pass(here, [asked(here, seed=seed) for seed in (1, 2, 3)]) for _ in range(2))
    assert rows == [3, 1, 2, 1, 1, 1, 1, 1], "the second time nobody fails first"
    for outcomes in (made, again):
        assert all(off(here.picture(one.value().artifact), other) <= 1
                   for one, other in zip(outcomes, alone, strict=True))
    assert notes(here, made)[0].startswith("out of memory with 3 pictures at once")


def test_idle_models_leave_and_those_that_are_needed_stay(here: Services) -> None:
    module = part(here, "sdxl")
    part(here, "relight")
    with too_small(module, first(1)):
        only(run_pass(here, [asked(here)]), here)
    assert sorted(models(here)) == ["tiny-controlnet-depth", "tiny-controlnet-lines", "tiny-controlnet-outpaint",
                                    "tiny-sdxl"]


def test_nothing_of_the_failed_try_is_in_memory_when_the_next_begins(here: Services) -> None:
    alive: list[bool] = []
    held: list[weakref.ref[torch.Tensor]] = []

    def full(inputs: tuple[torch.Tensor, ...]) -> bool:
        alive.append(any(one() is not None for one in held))
        held.append(weakref.ref(inputs[0]))
        return len(held) < 3

    with too_small(part(here, "sdxl"), full):
        only(run_pass(here, [asked(here)]), here)
    assert alive[:3] == [False] * 3


def test_nor_is_anything_of_a_failed_batch_when_its_halves_begin(here: Services) -> None:
    alive: list[bool] = []
    held: list[weakref.ref[torch.Tensor]] = []

    def fail(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        alive.append(any(one() is not None for one in held))
        held.append(weakref.ref(inputs[0]))
        if len(held) == 1:
            raise FloatingPointError("nan")

    hook = part(here, "sdxl").register_forward_pre_hook(fail)
    outcomes = run_pass(here, [asked(here, seed=seed) for seed in (1, 2)])
    hook.remove()
    assert [outcome.error for outcome in outcomes] == [None, None]
    assert alive == [False] * 3


def test_what_it_took_is_remembered_for_this_size_and_larger_and_not_for_ever(here: Services) -> None:
    module = part(here, "sdxl")
    with too_small(module, first(2)) as times:
        only(run_pass(here, [asked(here)]), here)
        assert len(times) == 2
    for side, expected in ((SIDE, (NOTES[Rung.TILED],)), (SIDE + 32, (NOTES[Rung.TILED],)), (SIDE - 32, ())):
        assert notes(here, run_pass(here, [asked(here, side=side)])) == expected, side
    here.ladder._clock.now = 2 * REMEMBERED_SECONDS  # type: ignore[attr-defined]
    assert notes(here, run_pass(here, [asked(here)])) == ()


def test_memory_that_runs_out_while_weights_are_loaded_is_met_by_offloading_them(
        here: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    from models import loaders
    load = loaders.load
    tries: list[str] = []

    def heavy(model: Any, **settings: Any) -> Any:
        tries.append(model.spec.name)
        if len(tries) <= 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return load(model, **settings)

    monkeypatch.setattr(loaders, "load", heavy)
    assert notes(here, run_pass(here, [asked(here)])) == (NOTES[Rung.OFFLOADED],)


def test_the_cpus_own_words_for_it_are_understood(here: Services) -> None:
    module = part(here, "sdxl")

    def refuse(*_: Any) -> None:
        hook.remove()
        torch.empty(10**15)

    hook = module.register_forward_pre_hook(refuse)
    assert notes(here, run_pass(here, [asked(here)])) == (NOTES[Rung.ALONE],)


def test_only_rungs_that_could_help_are_taken() -> None:
    place = Place(pass_name="sdxl", weights=(), width=1024, height=768)
    assert rungs_for(place, {"sdxl", "controlnet"}, offloads=True) == tuple(Rung)
    assert rungs_for(place, {"sdxl", "controlnet"}, offloads=False) == (Rung.FREELY, Rung.ALONE, Rung.TILED)
    assert rungs_for(place, {"depth"}, offloads=True) == (Rung.FREELY, Rung.ALONE, Rung.OFFLOADED)
    assert rungs_for(place, (), offloads=True) == (Rung.FREELY, Rung.ALONE)
    assert rungs_for(place, {"matting"}, offloads=True) == (Rung.FREELY, Rung.ALONE)


def test_a_failure_of_another_kind_takes_no_rung(here: Services) -> None:
    module = part(here, "sdxl")

    def fail(*_: Any) -> None:
        raise FloatingPointError("nan")

    hook = module.register_forward_pre_hook(fail)
    [outcome] = run_pass(here, [asked(here)])
    hook.remove()
    assert isinstance(outcome.error, FloatingPointError)
