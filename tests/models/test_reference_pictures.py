"""A small reference picture for each (pass, version) on tiny weights: pixels may move only under a new version.

Each pass runs on inputs drawn here by arithmetic, never on another pass's output, so a change shows where it was made.
`make references` (this file as a script) writes the pictures that are missing; look at them before committing.
"""

import sys
from pathlib import Path

import numpy as np
import pytest

from models.params import (
    CutOutParams,
    DepthParams,
    LinesParams,
    MixParams,
    OutpaintParams,
    PassParams,
    PlaceParams,
    RelightParams,
    SdxlParams,
    UpscaleParams,
)
from models.passes import PASSES, PassContext
from models.pictures import Picture, decode_png, encode_png, over
from models.profiles import profile
from models.weights import resolve
from models.zoo import Zoo
from tasks.work import resolve_function

FOLDER = Path(__file__).parent / "references"
HEIGHT, WIDTH = 96, 128
ZOO = Zoo(device="cpu")
ROWS, COLUMNS = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)


def picture(*channels: np.ndarray) -> Picture:
    return np.asarray(np.clip(np.rint(np.stack(np.broadcast_arrays(*channels), axis=-1)), 0, 255), dtype=np.uint8)


def disc(height: float, width: float) -> np.ndarray:
    """Alpha of an ellipse in the middle, its edge two pixels soft."""
    distance = np.hypot((ROWS - HEIGHT / 2) / height, (COLUMNS - WIDTH / 2) / width)
    return np.clip((1 - distance) * min(height, width) / 2 + 0.5, 0, 1)


STRIPES = 90 + 80 * ((COLUMNS // 6) % 2)
PLACED = picture(STRIPES, 60 + ROWS, 200 - COLUMNS, 255 * disc(34, 30))
PRINT = picture(*[220 - 170.0 * ((COLUMNS // 3) % 6 == 0) - ROWS / 8] * 3, 255 * disc(34, 30))
LARGE = PLACED.repeat(4, axis=0).repeat(4, axis=1)  # as if cut out of a photo four times as large
BEHIND = picture(90 + ROWS, 120 + COLUMNS / 2, 150 - ROWS / 2)
SCENE = over(PLACED, BEHIND)
LIT = over(picture(1.2 * STRIPES, 72 + 1.2 * ROWS, 240 - 1.2 * COLUMNS, 255 * disc(34, 30)), BEHIND)
SHADE = 1 - 0.6 * np.exp(-((ROWS - 84) / 5) ** 2 - ((COLUMNS - 60) / 22) ** 2)
RELIT = over(PLACED, picture(*(SHADE * channel for channel in (60 + COLUMNS, 100 + COLUMNS / 2, 140 + 0 * ROWS))))
PHOTO = over(PLACED, picture(225 + ROWS / 8, 226 + ROWS / 8, 228 + ROWS / 8))
MAP = picture(*[255.0 * (np.hypot(ROWS - 48, COLUMNS - 64) < 30)] * 3)
SDXL = {"prompt": "a bottle on a table", "negative_prompt": "people", "steps": 2, "guidance_scale": 4.0,
        "pag_scale": 2.0}
CASES: dict[str, tuple[PassParams, dict[str, Picture]]] = {
    "cut_out": (CutOutParams(), {"photo": PHOTO}),
    "cut_out-neural": (CutOutParams(backend="neural"), {"photo": PHOTO}),
    "cut_out-mask": (CutOutParams(), {"photo": PHOTO, "mask": picture(*[255 * disc(30, 26)] * 3)}),
    "place": (PlaceParams(width=96, height=64, object_padding=0.1, force_center=False), {"product": PLACED}),
    "outpaint": (OutpaintParams(hole="white"), {"placed": PLACED}),
    "lines": (LinesParams(), {"placed": PLACED}),
    "lines-canny_fixed": (LinesParams(detector="canny_fixed"), {"placed": PRINT}),
    "lines-lineart_standard": (LinesParams(detector="lineart_standard"), {"placed": PRINT}),
    "lines-teed": (LinesParams(detector="teed"), {"placed": PLACED}),
    "depth": (DepthParams(), {"scene": SCENE}),
    "sdxl": (SdxlParams(**SDXL, seed=7, strength=1.0, outpaint_scale=1.0, depth_scale=0.0, line_scale=0.7,
                        brightness=0.5),
             {"placed": PLACED, "outpaint": MAP, "lines": MAP}),
    "sdxl-again": (SdxlParams(**SDXL, seed=8, strength=0.5, outpaint_scale=0.0, depth_scale=1.0, line_scale=0.0),
                   {"placed": PLACED, "scene": SCENE, "depth": MAP}),
    "relight": (RelightParams(prompt="a bottle", negative_prompt="bad", seed=9, steps=2, guidance_scale=7.0),
                {"placed": PLACED, "scene": SCENE}),
    "mix": (MixParams(light_mix_scale=0.5), {"placed": PLACED, "scene": SCENE, "relit": RELIT}),
    "upscale": (UpscaleParams(light_mix_scale=1), {
        "placed": PLACED, "lit": LIT, "product": LARGE, "placed_large": LARGE, "scene": SCENE, "relit": LIT}),
}


def run(case: str) -> Picture:
    params, inputs = CASES[case]
    spec = PASSES[case.split("-")[0]]
    pinned = resolve(profile("tiny"), Path())
    with ZOO.lease({role: pinned[role] for role in spec.needs(params, inputs)}) as models:
        made: Picture = resolve_function(spec.function)(params, PassContext(models=models), **inputs)
    return made


def reference(case: str) -> Path:
    return FOLDER / f"{case}-v{PASSES[case.split('-')[0]].version}.png"


def test_every_pass_has_a_case_and_no_reference_is_left_over() -> None:
    assert {case.split("-")[0] for case in CASES} == set(PASSES)
    assert {path.name for path in FOLDER.iterdir()} == {reference(case).name for case in CASES}


@pytest.mark.parametrize("case", CASES)
def test_pixels_stay_under_an_unchanged_version(case: str) -> None:
    expected = decode_png(reference(case).read_bytes()).astype(np.int16)
    got = run(case).astype(np.int16)
    assert got.shape == expected.shape
    off = np.abs(got - expected)
    moved = off.mean() > 0.25 or off.max() > 4
    assert not moved, (
        f"the pixels of {case} moved (mean {off.mean():.3f}, max {off.max()} of 255): raise the version of "
        f"{case.split('-')[0]!r} in models/passes.py and run `make references`")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for stale in set(FOLDER.iterdir()) - {reference(case) for case in CASES}:
        stale.unlink()
    for case in CASES:
        if not reference(case).exists():
            reference(case).write_bytes(encode_png(run(case)))
            sys.stdout.write(f"wrote {reference(case).name}\n")
