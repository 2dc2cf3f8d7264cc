"""The control maps: exactly the working size, the hole in its colour, lines of the product only, depth near-white."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from transformers import DPTImageProcessor

from models import tiny
from models.components import DepthComponents
from models.control_maps import _stretched, depth, lines, outpaint
from models.params import DepthParams, LinesParams, OutpaintParams
from models.passes import PassContext
from models.pictures import Picture

HEIGHT, WIDTH = 96, 160
ROWS, COLUMNS = np.mgrid[0:HEIGHT, 0:WIDTH]
INSIDE = np.hypot(ROWS - 48, COLUMNS - 70) < 35
HOLE = np.hypot(ROWS - 48, COLUMNS - 70) < 8


def product(grey: np.ndarray | int, mask: np.ndarray = INSIDE) -> Picture:
    """A product of that grey (0..255); hidden noise under alpha 0, which no map may show."""
    hidden = np.random.default_rng(5).integers(0, 256, (HEIGHT, WIDTH))
    seen = np.where(mask, grey, hidden)
    return np.dstack([seen, seen, seen, 255 * mask]).astype(np.uint8)


def drawn(placed: Picture) -> np.ndarray:
    return lines(LinesParams(), PassContext(), placed=placed)[:, :, 0] > 0


def contour(mask: np.ndarray) -> np.ndarray:
    """The mask's pixels that touch its outside: the reference for the matte's contour."""
    return mask & ~(cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)


@pytest.mark.parametrize(("hole", "value"), [("white", 255), ("black", 0)])
def test_the_hole_has_the_colour_of_the_net_and_the_product_stays(hole: str, value: int) -> None:
    placed = product(100)
    made = outpaint(OutpaintParams(hole=hole), PassContext(), placed=placed)
    assert made.shape == (HEIGHT, WIDTH, 3)
    assert made.dtype == np.uint8
    assert (made[~INSIDE] == value).all()
    assert (made[INSIDE] == 100).all()


@pytest.mark.parametrize("grey", [0, 127, 255])
def test_a_plain_product_gives_its_contour_and_no_other_line(grey: int) -> None:
    made = drawn(product(grey))
    assert (made & ~contour(INSIDE)).sum() == 0
    assert made.sum() > 2 * np.pi * 35 * 0.8


def test_the_contour_is_closed_and_a_hole_has_one_too() -> None:
    made = drawn(product(127, INSIDE & ~HOLE))
    regions, _ = cv2.connectedComponents((~made).astype(np.uint8), connectivity=4)
    assert regions == 1 + 3, "background, ring and hole are three regions with no gap between them"


def test_lines_are_those_of_the_product_only() -> None:
    stripes = np.where((COLUMNS // 12) % 2, 60, 190)
    made = drawn(product(stripes))
    assert not made[~INSIDE].any()
    assert made[40:56, 50:90].sum() >= 16 * 3, "three or more of the stripes' edges are drawn, from top to bottom"


def test_lines_are_white_on_black_and_as_large_as_the_canvas() -> None:
    made = lines(LinesParams(), PassContext(), placed=product(90))
    assert made.shape == (HEIGHT, WIDTH, 3)
    assert set(np.unique(made)) == {0, 255}


def test_noise_draws_hardly_a_line_and_faint_print_on_a_light_product_does() -> None:
    noise = np.clip(128 + np.random.default_rng(0).normal(0, 16, (HEIGHT, WIDTH)), 0, 255)
    inner = cv2.erode(INSIDE.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    assert drawn(product(noise))[inner].mean() < 0.01
    assert drawn(product(np.where(COLUMNS < 70, 240, 215)))[48, 66:74].any()


def test_a_step_of_transparency_is_no_line() -> None:
    placed = product(200)
    placed[:, 70:, 3] = np.where(INSIDE, 150, 0)[:, 70:]
    assert not (drawn(placed) & ~contour(INSIDE)).any()


@pytest.mark.filterwarnings("error")
def test_no_product_draws_no_lines() -> None:
    assert not drawn(product(90, np.zeros_like(INSIDE))).any()


@pytest.fixture(scope="module")
def estimator() -> PassContext:
    return PassContext(models={"depth": tiny.depth()})


def test_depth_is_exactly_as_large_as_the_picture_and_reaches_black_and_white(estimator: PassContext) -> None:
    before = estimator.model_calls
    made = depth(DepthParams(), estimator, scene=product(np.where(COLUMNS < 60, 30, 220))[:, :, :3])
    assert made.shape == (HEIGHT, WIDTH, 3)
    assert made.dtype == np.uint8
    assert (made[:, :, 0] == made[:, :, 1]).all()
    assert (made[:, :, 0] == made[:, :, 2]).all()
    assert made.min() == 0
    assert made.max() == 255
    assert estimator.model_calls == before + 1


@pytest.mark.filterwarnings("error")
def test_read_only_pictures_serve(estimator: PassContext) -> None:
    """As the store's decoder may hand them over."""
    placed = product(200)
    placed.flags.writeable = False
    lines(LinesParams(), estimator, placed=placed)
    depth(DepthParams(), estimator, placed=placed)
    depth(DepthParams(), estimator, scene=placed[:, :, :3])


@pytest.mark.parametrize(("size", "seen"), [((768, 1024), (518, 686)), ((1024, 768), (686, 518)),
                                            ((1200, 544), (1148, 518))], ids=["wide", "high", "narrow"])
def test_the_estimator_sees_518_pixels_on_the_short_side_and_multiples_of_14(
        size: tuple[int, int], seen: tuple[int, int]) -> None:
    """With the processor's settings that Depth Anything V2 is published with; the model is the tiny one."""
    processor = DPTImageProcessor(do_resize=True, size={"height": 518, "width": 518}, ensure_multiple_of=14,
                                  keep_aspect_ratio=True, resample=3)
    model = tiny.depth().model
    shapes = []
    model.register_forward_pre_hook(lambda module, given, named: shapes.append(tuple(named["pixel_values"].shape[2:])),
                                    with_kwargs=True)
    made = depth(DepthParams(), PassContext(models={"depth": DepthComponents(model=model, processor=processor)}),
                 scene=np.random.default_rng(2).integers(0, 256, (*size, 3), dtype=np.uint8))
    assert shapes == [seen]
    assert made.shape == (*size, 3)


def test_near_is_white(estimator: PassContext) -> None:
    """Depth Anything predicts inverse depth: what it calls large must be the map's light part."""
    scene = product(np.where(COLUMNS < 60, 30, 220))[:, :, :3]
    made = depth(DepthParams(), estimator, scene=scene)[:, :, 0].astype(np.float32)
    weights = estimator.models["depth"]
    with torch.inference_mode():
        near = weights.model(**weights.processor(images=scene, return_tensors="pt")).predicted_depth[0].numpy()
    again = cv2.resize(near, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    assert np.corrcoef(made.ravel(), again.ravel())[0, 1] > 0.95


def test_depth_of_the_product_alone_does_not_see_what_lies_under_alpha_0(estimator: PassContext) -> None:
    placed = product(200)
    cleaned = np.where(INSIDE[:, :, None], placed, 0).astype(np.uint8)
    assert (depth(DepthParams(), estimator, placed=placed) == depth(DepthParams(), estimator, placed=cleaned)).all()


def test_flat_depth_is_mid_grey() -> None:
    weights = tiny.depth()
    with torch.no_grad():
        for parameter in weights.model.head.parameters():
            parameter.zero_()
        weights.model.head.conv3.bias.fill_(2.0)
    made = depth(DepthParams(), PassContext(models={"depth": weights}), scene=product(90)[:, :, :3])
    assert (made == 128).all()


def test_one_outlier_does_not_flatten_the_depth() -> None:
    ramp = np.linspace(1, 2, 10_000, dtype=np.float32).reshape(100, 100)
    spoilt = ramp.copy()
    spoilt[3, 3] = 1000
    assert np.abs(_stretched(spoilt) - _stretched(ramp)).max() <= 1
    assert np.median(_stretched(spoilt)) == pytest.approx(0.5, abs=0.01)


def test_depth_wants_exactly_one_picture(estimator: PassContext) -> None:
    placed = product(90)
    with pytest.raises(ValueError, match="exactly one of placed and scene; got none"):
        depth(DepthParams(), estimator)
    with pytest.raises(ValueError, match="exactly one of placed and scene; got both"):
        depth(DepthParams(), estimator, placed=placed, scene=placed[:, :, :3])
