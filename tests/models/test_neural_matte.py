"""The neural matte on a real ONNX graph that sees red, run by the real runtime."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from models import neural_matte as neural_matte_module
from models.components import MattingComponents
from models.cut_out import cut_out
from models.errors import InputError, WeightsError
from models.neural_matte import DEVIATION, MEAN, at_the_photos_size, neural_matte
from models.onnx_session import matting_session
from models.params import CutOutParams
from models.passes import PassContext
from models.pictures import Picture

SIDE = 64
NEURAL = CutOutParams(backend="neural")
HEIGHT, WIDTH = 240, 320
ROWS, COLUMNS = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
RED, GREY = np.array([205.0, 40.0, 45.0]), np.array([190.0, 192.0, 195.0])


def sees_red(*, bias: float = -5.0, scale: float = 16.0) -> MattingComponents:
    """A network of one 1 x 1 convolution: logits = scale * (red - green) of the photo in 0..1, plus bias."""
    weight = np.zeros((1, 3, 1, 1), np.float32)
    weight[0, :2, 0, 0] = scale * DEVIATION[0], -scale * DEVIATION[1]
    shift = np.array([bias + scale * (MEAN[0] - MEAN[1])], np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["input_image", "weight", "shift"], ["output_image"])], "sees-red",
        [helper.make_tensor_value_info("input_image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("output_image", TensorProto.FLOAT, [1, 1, SIDE, SIDE])],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(shift, "shift")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return matting_session(model.SerializeToString(), name="sees-red", device="cpu")


def disc(radius: float = 70, softness: float = 2.0) -> np.ndarray:
    return np.clip((radius - np.hypot(ROWS - 120, COLUMNS - 150)) / softness + 0.5, 0, 1)


def photo(alpha: np.ndarray) -> Picture:
    mixed = RED * alpha[:, :, None] + GREY * (1 - alpha[:, :, None])
    return np.asarray(np.rint(mixed), dtype=np.uint8)


def cut(picture: Picture, weights: MattingComponents | None = None) -> Picture:
    return cut_out(NEURAL, PassContext(models={"matting": weights or sees_red()}), photo=picture)


def test_what_the_network_sees_is_cut_out_at_the_photos_size() -> None:
    seen, context = photo(disc()), PassContext(models={"matting": sees_red()})
    product = cut_out(NEURAL, context, photo=seen)
    assert product.shape == (HEIGHT, WIDTH, 4)
    assert context.model_calls == 1
    assert np.abs(product[:, :, 3] / 255.0 - disc())[np.abs(disc() - 0.5) > 0.49].max() < 0.5
    assert np.abs(product[:, :, 3] / 255.0 - disc()).mean() < 0.01
    opaque = product[:, :, 3] == 255
    assert opaque.mean() > 0.15
    assert np.array_equal(product[opaque][:, :3], seen[opaque])
    assert not product[product[:, :, 3] == 0].any()


def test_the_edges_colours_are_freed_of_the_backdrop_as_in_the_classical_way() -> None:
    seen = photo(disc(softness=6))
    product = cut(seen)
    soft = (product[:, :, 3] > 25) & (product[:, :, 3] < 230)
    assert soft.any()
    before, after = (np.abs(colours[soft].astype(float) - RED).mean() for colours in (seen, product[:, :, :3]))
    assert after < 0.5 * before


def test_a_coarse_matte_gets_the_photos_own_crisp_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a photo of 4,000 px at a quarter of its size: a network's pixel is four of the photo's."""
    monkeypatch.setattr(neural_matte_module, "EDGE_AREA", 256 * 256)
    rows, columns = np.mgrid[0:1024, 0:1024].astype(np.float32)
    truth = np.clip(330 - np.hypot(rows - 500, columns - 520) + 0.5, 0, 1).astype(np.float32)
    large = np.asarray(np.rint(RED * truth[:, :, None] + GREY * (1 - truth[:, :, None])), dtype=np.uint8)
    coarse = cv2.resize(truth, (256, 256), interpolation=cv2.INTER_AREA)
    plain = np.abs(cv2.resize(coarse, (1024, 1024), interpolation=cv2.INTER_LINEAR) - truth).mean()
    assert np.abs(at_the_photos_size(coarse, large) - truth).mean() < 0.05 * plain


def test_an_even_half_transparency_stays_even_whatever_stands_behind_it() -> None:
    stripes = np.asarray(np.rint(120 + 100 * np.sin(COLUMNS / 3))[:, :, None].repeat(3, axis=2), dtype=np.uint8)
    assert np.allclose(at_the_photos_size(np.full((SIDE, SIDE), 0.5, np.float32), stripes), 0.5, atol=1e-5)


def test_a_real_alpha_needs_no_network() -> None:
    given = np.dstack([photo(disc()), np.rint(255 * disc()).astype(np.uint8)])
    assert np.array_equal(cut_out(NEURAL, PassContext(), photo=given), given)


@pytest.mark.parametrize(("weights", "said"), [
    (sees_red(bias=-40), "no product"), (sees_red(bias=40), "touches every border")])
def test_no_product_and_a_full_frame_are_refused_as_in_the_classical_way(
        weights: MattingComponents, said: str) -> None:
    with pytest.raises(InputError, match=said):
        cut(photo(disc()), weights)


def test_a_photo_of_nothing_is_not_stretched_into_a_product() -> None:
    with pytest.raises(InputError, match="no product"):
        cut(np.full((96, 96, 3), 200, np.uint8))


def test_without_its_weights_the_neural_way_is_refused_in_one_line() -> None:
    with pytest.raises(WeightsError, match=r"backend='neural'.*BACKLOT_MATTING=classical"):
        cut_out(NEURAL, PassContext(), photo=photo(disc()))


def test_numbers_that_are_none_are_refused() -> None:
    with pytest.raises(WeightsError, match="not all finite"):
        neural_matte(photo(disc()), sees_red(bias=float("nan")))
