"""Which field re-runs what: the order walked by a `Runner` that computes keys and runs nothing."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from flows.documents import validate
from flows.methods import Methods
from flows.omni_bg import order
from flows.omni_bg_document import OmniBgParams
from flows.omni_bg_resolve import resolve
from models.params import PassParams
from models.passes import PASSES
from storage.digests import sha256_hex
from storage.records import Artifact
from storage.settings import Settings
from tasks.requests import JobRef, PassRequest
from tasks.services import Services
from tasks.work import prepare

SERVICES = Services(settings=Settings())  # of which only the tiny profile's digests are asked
TABLE = Path(__file__).parents[2] / "docs" / "omni-bg.md"
BASE = {
    "job_id": "a", "image": "bottle.jpg", "subject": "a bottle", "placed_on": "a table", "background": "a kitchen",
    "camera_orientation": "front view", "camera_angle": "eye level", "main_light_direction": "light from the left",
    "proposed_background": "a bar", "proposed_brightness": 0.2, "seed": 7,
}
OTHER = {
    "job_id": "b", "image": "mug.jpg", "proposed_brightness": -0.3, "background_brightness": 0.1, "force_center": True,
    "seed": 8, "height": 640, "width": 640, "final_step_upscale_4x": True, "debug_mode": True, "object_padding": 0.3,
    "first_pass_steps": 11, "first_pass_i2i_strength": 0.9, "first_pass_pag_scale": 3.0,
    "first_pass_guidance_scale": 5.0,
    "first_pass_outpaint_strength": 0.5, "first_pass_depth_strength": 0.5, "first_pass_line_strength": 0.5,
    "skip_second_pass": True, "second_pass_steps": 11, "second_pass_i2i_strength": 0.4, "second_pass_pag_scale": 3.0,
    "second_pass_guidance_scale": 5.0, "second_pass_outpaint_strength": 0.5, "second_pass_depth_strength": 0.5,
    "second_pass_line_strength": 0.5, "skip_light_pass": True, "light_pass_steps": 11, "light_pass_guidance_scale": 5.0,
    "light_mix_scale": 0.7,
}
UNLESS = {"proposed_background": {"background": ""}}
"""Fields that count only beside another value of a second field."""


def artifact(text: str) -> Artifact:
    return Artifact(digest=sha256_hex(text.encode()), media_type="image/png", bytes=1, width=1, height=1)


@dataclass
class KeyRunner:
    """Every pass's output is taken to be its key, the one run_pass would use, so a changed key changes all below it."""

    job_id: str
    keys: dict[str, str] = field(default_factory=dict)
    own: dict[str, object] = field(default_factory=dict)
    masks: dict[str, Artifact] = field(default_factory=dict)

    def run(self, pass_name: str, params: PassParams, *, at: str | None = None, **inputs: Artifact | None) -> Artifact:
        given = {role: value for role, value in inputs.items() if value is not None}
        job = JobRef(job_id=self.job_id, pipeline="omni-bg", profile="tiny", flow_run_id=self.job_id)
        key = prepare(SERVICES, PassRequest(job=job, at=at or pass_name, position=len(self.keys), pass_name=pass_name,
                                            params=params, inputs=given)).parts.key
        self.keys[at or pass_name] = key
        self.own[at or pass_name] = (params, frozenset(given), given.get("photo"))
        return artifact(key)

    def skip(self, pass_name: str, reason: str, *, at: str | None = None) -> None:
        assert reason

    def mask(self, photo: Artifact) -> Artifact | None:
        return self.masks.get(photo.digest)


MASKS = {artifact("bottle.jpg").digest: artifact("mask.png")}


def walk(document: dict[str, object], methods: Methods | None = None, masks: dict[str, Artifact] | None = None,
         ) -> KeyRunner:
    resolved = resolve(validate(OmniBgParams, document), min_side=64, methods=methods or Methods())
    runner = KeyRunner(resolved.document.job_id or "none", masks=masks or {})
    order(resolved, "tiny", artifact(resolved.document.image), runner)
    return runner


def effect(name: str) -> tuple[set[str], set[str]]:
    """(passes that read the field, passes whose key changes) when the field alone changes."""
    base = {**BASE, **UNLESS.get(name, {})}
    before, after = walk(base), walk({**base, name: OTHER.get(name, f"another {name}")})
    names = before.keys.keys() | after.keys.keys()
    return ({at for at in names if before.own.get(at) != after.own.get(at)},
            {at for at in names if before.keys.get(at) != after.keys.get(at)})


def documented() -> dict[str, tuple[set[str], set[str]]]:
    """The table of docs/omni-bg.md: | field | read by | changes the keys of |."""
    rows = re.findall(r"^\| `([a-z0-9_]+)` \| (.*?) \| (.*?) \|", TABLE.read_text(encoding="utf-8"), flags=re.M)
    return {name: (set(re.findall(r"`(\w+)`", read)), set(re.findall(r"`(\w+)`", rerun))) for name, read, rerun in rows}


def test_the_table_has_all_41_fields_in_order() -> None:
    assert list(documented()) == list(OmniBgParams.model_fields)


@pytest.mark.parametrize("name", OmniBgParams.model_fields)
def test_a_field_changes_exactly_the_keys_the_table_says(name: str) -> None:
    assert effect(name) == documented()[name]


@pytest.mark.parametrize(("methods", "reads"), [(Methods(spacing="ays"), {"first", "second"}),
                                                 (Methods(lines="lineart_standard"), {"lines"}),
                                                 (Methods(lines="teed"), {"lines"}),
                                                 (Methods(matting="neural"), {"cut_out"})],
                         ids=["spacing", "lines", "lines by a network", "matting"])
def test_what_the_house_chooses_is_in_the_keys_of_the_passes_that_read_it(methods: Methods, reads: set[str]) -> None:
    before, after = walk(BASE), walk(BASE, methods)
    assert {at for at in before.own if before.own[at] != after.own[at]} == reads
    assert all(before.keys[at] != after.keys[at] for at in reads)


def test_a_mask_is_in_the_key_and_the_way_of_matting_then_is_not() -> None:
    matted, masked = walk(BASE), walk(BASE, masks=MASKS)
    assert masked.own["cut_out"] != matted.own["cut_out"]
    assert masked.keys["cut_out"] != matted.keys["cut_out"]
    assert walk(BASE, Methods(matting="neural"), masks=MASKS).keys == masked.keys
    assert walk({**BASE, "image": "mug.jpg"}, masks=MASKS).keys == walk({**BASE, "image": "mug.jpg"}).keys


def test_every_pass_has_its_own_name_and_a_job_with_everything_on_has_twelve() -> None:
    assert list(walk(BASE).keys) == [
        "cut_out", "place", "outpaint", "lines", "first", "second_depth", "second", "relight", "mix"]
    assert list(walk({**BASE, "final_step_upscale_4x": True, "first_pass_depth_strength": 0.5}).keys) == [
        "cut_out", "place", "outpaint", "lines", "first_depth", "first", "second_depth", "second", "relight", "mix",
        "placed_large", "upscale"]


def test_a_pass_is_given_only_the_maps_it_reads() -> None:
    runner = walk({**BASE, "first_pass_line_strength": 0, "second_pass_outpaint_strength": 0})
    roles = {at: given for at, (_, given, _) in runner.own.items()}  # type: ignore[misc]
    assert roles["first"] == {"placed", "outpaint"}
    assert roles["second"] == {"placed", "scene", "lines", "depth"}
    assert roles["second_depth"] == {"scene"}
    assert walk({**BASE, "first_pass_depth_strength": 0.5}).own["first_depth"][1] == {"placed"}  # type: ignore[index]


def test_the_large_product_is_the_same_layout_four_times_as_large_and_light_is_read_only_where_there_is_some() -> None:
    def roles(**changes: object) -> frozenset[str]:
        return walk({**BASE, "final_step_upscale_4x": True, **changes}).own["upscale"][1]  # type: ignore[index]

    runner = walk({**BASE, "final_step_upscale_4x": True})
    small, large = (runner.own[at][0] for at in ("place", "placed_large"))  # type: ignore[index]
    assert large == small.model_copy(update={"width": 4 * small.width, "height": 4 * small.height})
    assert runner.own["upscale"][0].light_mix_scale == 0.5  # type: ignore[index]
    unlit = {"placed", "lit", "product", "placed_large"}
    assert roles() == unlit | {"scene", "relit"}
    assert roles(skip_light_pass=True) == roles(light_mix_scale=0) == unlit


def test_maps_nobody_uses_are_not_made() -> None:
    silent = {"first_pass_outpaint_strength": 0, "second_pass_outpaint_strength": 0, "first_pass_line_strength": 0,
              "skip_second_pass": True}
    assert list(walk({**BASE, **silent}).keys) == ["cut_out", "place", "first", "relight", "mix"]


def test_a_light_that_is_not_mixed_in_is_not_made() -> None:
    lit, unlit = walk(BASE), walk({**BASE, "light_mix_scale": 0})
    assert [at for at in lit.keys if at not in unlit.keys] == ["relight", "mix"]


def test_a_pass_of_strength_0_reads_no_map_and_no_weights() -> None:
    runner = walk({**BASE, "first_pass_i2i_strength": 0, "skip_second_pass": True})
    assert list(runner.keys) == ["cut_out", "place", "first", "relight", "mix"]
    assert PASSES["sdxl"].needs(runner.own["first"][0], ()) == ()  # type: ignore[index]


def test_the_first_and_second_pass_are_one_pass_under_different_seeds() -> None:
    runner = walk({**BASE, "second_pass_i2i_strength": 1.0, "second_pass_pag_scale": 2.0})
    assert runner.own["first"][0].seed != runner.own["second"][0].seed  # type: ignore[index]
