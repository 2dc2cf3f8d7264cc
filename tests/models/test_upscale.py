from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from models import tiny
from models.errors import WeightsError
from models.params import UpscaleParams
from models.passes import PassContext
from models.pictures import Picture, over
from models.upscale import upscale


def scene(height: int, width: int) -> Picture:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)


def placed(height: int, width: int) -> Picture:
    """A soft-edged striped disc in the middle."""
    rows, columns = np.mgrid[0:height, 0:width]
    product = np.zeros((height, width, 4), dtype=np.uint8)
    product[:, :, :3] = (columns // 3 % 2 * 200 + 20)[:, :, None]
    distance = np.hypot(rows - height / 2, columns - width / 2)
    product[:, :, 3] = np.clip((min(height, width) / 4 - distance) * 80 + 128, 0, 255)
    return product


def lanczos(picture: Picture) -> Picture:
    return np.asarray(Image.fromarray(picture).resize(
        (picture.shape[1] * 4, picture.shape[0] * 4), Image.Resampling.LANCZOS))


def enlarged(picture: Picture) -> Picture:
    return picture.repeat(4, axis=0).repeat(4, axis=1)


def by_network(network: Any, picture: Picture) -> Picture:
    made = network(torch.from_numpy(picture).permute(2, 0, 1)[None] / 255)[0].permute(1, 2, 0)
    return np.asarray((made * 255).round().byte().numpy())


@pytest.mark.parametrize(("height", "width"), [(64, 64), (48, 80), (33, 47)])
@pytest.mark.parametrize("with_network", [True, False])
def test_the_result_is_exactly_four_times_as_large(height: int, width: int, with_network: bool) -> None:
    context = PassContext(models={"upscaler": tiny.upscaler()} if with_network else {})
    product = placed(height, width)
    result = upscale(UpscaleParams(), context, placed=product, lit=over(product, scene(height, width)))
    assert result.shape == (4 * height, 4 * width, 3)
    assert result.dtype == np.uint8


def test_the_network_draws_the_scene_and_never_the_product() -> None:
    """The tiny network is noise, so any share of it in the product would show at once."""
    network, product = tiny.upscaler(), placed(64, 80)
    lit = over(product, scene(64, 80))
    context = PassContext(models={"upscaler": network})
    result = upscale(UpscaleParams(), context, placed=product, lit=lit)
    resampled, invented = lanczos(lit), by_network(network, lit)

    alpha = enlarged(product)[:, :, 3]
    assert np.abs(resampled[alpha == 255].astype(int) - invented[alpha == 255]).mean() > 20, "or nothing is told apart"
    assert np.array_equal(result[alpha == 255], resampled[alpha == 255]), "the opaque product"
    edge = (alpha > 0) & (alpha < 255)
    assert edge.sum() > 1000
    assert np.array_equal(result[edge], resampled[edge]), "its soft edge"

    rows, columns = np.mgrid[0:256, 0:320]
    far = np.hypot(rows - 128, columns - 160) > 64 + 8 * 4
    assert np.array_equal(result[far], invented[far]), "the scene"
    assert context.model_calls == 1
    assert context.notes == []


def test_between_product_and_scene_one_fades_into_the_other() -> None:
    product = placed(64, 64)

    class White(SimpleNamespace):
        def __call__(self, picture: torch.Tensor) -> torch.Tensor:
            return torch.ones(1, 3, 4 * picture.shape[2], 4 * picture.shape[3])

    white = White(scale=4, input_channels=3, output_channels=3, device=torch.device("cpu"), dtype=torch.float32)
    context = PassContext(models={"upscaler": white})
    row = upscale(UpscaleParams(), context, placed=product, lit=np.zeros((64, 64, 3), np.uint8))[128, :, 0].astype(int)
    assert (row[0], row[128]) == (255, 0)
    assert np.all(np.diff(row[:128]) <= 0)
    assert np.abs(np.diff(row)).max() < 80, "no hard seam"


def test_a_faint_haze_in_the_matte_does_not_take_the_scene_from_the_network() -> None:
    network, product = tiny.upscaler(), placed(64, 64)
    hazy = product.copy()
    hazy[:, :, 3] = np.maximum(hazy[:, :, 3], 2)
    lit = over(product, scene(64, 64))
    clean, dusty = (upscale(UpscaleParams(), PassContext(models={"upscaler": network}), placed=given, lit=lit)
                    for given in (product, hazy))
    assert np.abs(clean.astype(int) - dusty).max() <= 4


def test_without_an_upscaler_everything_is_lanczos_and_a_note_says_so() -> None:
    product = placed(48, 64)
    lit = over(product, scene(48, 64))
    context = PassContext()
    assert np.array_equal(upscale(UpscaleParams(), context, placed=product, lit=lit), lanczos(lit))
    assert len(context.notes) == 1
    assert "Lanczos" in context.notes[0]
    assert context.model_calls == 0


def test_the_same_picture_gives_the_same_bytes() -> None:
    product = placed(48, 64)
    lit = over(product, scene(48, 64))
    once, again = (upscale(UpscaleParams(), PassContext(models={"upscaler": tiny.upscaler()}), placed=product, lit=lit)
                   for _ in range(2))
    assert np.array_equal(once, again)


@pytest.mark.parametrize("wrong", [{"scale": 2}, {"input_channels": 1}])
def test_a_network_of_another_magnification_or_other_channels_is_refused(wrong: dict[str, int]) -> None:
    network = tiny.upscaler()
    for name, value in wrong.items():
        setattr(network, name, value)
    with pytest.raises(WeightsError, match="magnifies") as caught:
        upscale(UpscaleParams(), PassContext(models={"upscaler": network}), placed=placed(32, 32), lit=scene(32, 32))
    assert caught.value.field == "upscaler"
    assert "4 times" in caught.value.remedy
