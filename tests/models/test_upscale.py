"""The pass upscale on drawn pictures: what is the network's, what is the photo's, and what is the light's.

The photo of `given` has fewer pixels than the working picture, so that everything comes from there; of `sharp` more.
"""

from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from relighting import from_the_right, garbled, lit_by, mixed, stops_of
from spandrel import ModelTiling, SizeRequirements

from models import tiny
from models.errors import WeightsError
from models.fidelity import measures
from models.params import PlaceParams, UpscaleParams
from models.passes import PassContext
from models.pictures import Floats, Picture, over
from models.place import place
from models.upscale import tiling_of, upscale


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


def given(placed: Picture, lit: Picture) -> dict[str, Picture]:
    """Of a photo with as many pixels as the working picture: there is nothing to win."""
    return {"placed": placed, "lit": lit, "product": placed, "placed_large": enlarged(placed)}


def sharp(more: float = 4.0, height: int = 96, width: int = 128) -> dict[str, Picture]:
    """A printed box from a photo with `more` of its pixels to each working one, lit from the right over a scene."""
    side = round(64 * more)
    product = np.zeros((side + 20, side + 20, 4), dtype=np.uint8)
    fine = np.random.default_rng(2).integers(30, 190, (side // 3 + 1, side // 3 + 1, 3), dtype=np.uint8)
    product[10:-10, 10:-10, :3] = fine.repeat(3, axis=0).repeat(3, axis=1)[:side, :side]
    product[10:-10, 10:-10, 3] = 255
    small, large = (place(PlaceParams(width=factor * width, height=factor * height, object_padding=0.25,
                                      force_center=False), PassContext(), product=product) for factor in (1, 4))
    behind = cv2.GaussianBlur(scene(height, width), (0, 0), 4)
    pasted = over(small, behind)
    relit = over(lit_by(garbled(small, block=8), from_the_right(small)), behind)
    return {"placed": small, "product": product, "placed_large": large, "scene": pasted, "relit": relit,
            "lit": mixed(small, pasted, relit)}


def run(params: UpscaleParams | None = None, network: Any = None, **inputs: Picture) -> tuple[Picture, PassContext]:
    context = PassContext(models={"upscaler": network} if network else {})
    return upscale(params or UpscaleParams(light_mix_scale=1), context, **inputs), context


def lanczos(picture: Picture) -> Picture:
    return np.asarray(Image.fromarray(picture).resize(
        (picture.shape[1] * 4, picture.shape[0] * 4), Image.Resampling.LANCZOS))


def enlarged(picture: Picture) -> Picture:
    return picture.repeat(4, axis=0).repeat(4, axis=1)


def reduced(picture: Picture) -> Picture:
    return np.asarray(cv2.resize(picture, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA))


def smooth(picture: Picture) -> Floats:
    return np.asarray(cv2.GaussianBlur(picture.astype(np.float32), (0, 0), 1.5))


def by_network(network: Any, picture: Picture) -> Picture:
    """With the picture's mirror image around it."""
    around = np.pad(picture, ((16, 16), (16, 16), (0, 0)), mode="reflect")
    made = network(torch.from_numpy(around).permute(2, 0, 1)[None] / 255)[0].permute(1, 2, 0)[64:-64, 64:-64]
    return np.asarray((made * 255).round().byte().numpy())


@pytest.mark.parametrize(("height", "width"), [(64, 64), (48, 80), (33, 47)])
@pytest.mark.parametrize("with_network", [True, False])
def test_the_result_is_exactly_four_times_as_large(height: int, width: int, with_network: bool) -> None:
    context = PassContext(models={"upscaler": tiny.upscaler()} if with_network else {})
    product = placed(height, width)
    result = upscale(UpscaleParams(), context, **given(product, over(product, scene(height, width))))
    assert result.shape == (4 * height, 4 * width, 3)
    assert result.dtype == np.uint8


def test_the_network_draws_the_scene_and_never_the_product() -> None:
    """The tiny network is noise, so any share of it in the product would show at once."""
    network, product = tiny.upscaler(), placed(64, 80)
    lit = over(product, scene(64, 80))
    context = PassContext(models={"upscaler": network})
    result = upscale(UpscaleParams(), context, **given(product, lit))
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
    assert context.notes == ["the photo has 1.00 of its pixels to each of the working size: the product is enlarged "
                             "from the working picture"]


def test_between_product_and_scene_one_fades_into_the_other() -> None:
    product = placed(64, 64)

    class White(SimpleNamespace):
        def __call__(self, picture: torch.Tensor) -> torch.Tensor:
            return torch.ones(len(picture), 3, 4 * picture.shape[2], 4 * picture.shape[3])

    white = White(scale=4, input_channels=3, output_channels=3, device=torch.device("cpu"), dtype=torch.float32,
                  tiling=ModelTiling.SUPPORTED, size_requirements=SizeRequirements())
    row = run(network=white, **given(product, np.zeros((64, 64, 3), np.uint8)))[0][128, :, 0].astype(int)
    assert (row[0], row[128]) == (255, 0)
    assert np.all(np.diff(row[:128]) <= 0)
    assert np.abs(np.diff(row)).max() < 80, "no hard seam"


def test_a_faint_haze_in_the_matte_does_not_take_the_scene_from_the_network() -> None:
    network, product = tiny.upscaler(), placed(64, 64)
    hazy = product.copy()
    hazy[:, :, 3] = np.maximum(hazy[:, :, 3], 2)
    lit = over(product, scene(64, 64))
    clean, dusty = (run(network=network, **given(one, lit))[0] for one in (product, hazy))
    assert np.abs(clean.astype(int) - dusty).max() <= 4


def test_without_an_upscaler_everything_is_lanczos_and_a_note_says_so() -> None:
    product = placed(48, 64)
    lit = over(product, scene(48, 64))
    context = PassContext()
    assert np.array_equal(upscale(UpscaleParams(), context, **given(product, lit)), lanczos(lit))
    assert len(context.notes) == 2
    assert "Lanczos" in context.notes[1]
    assert context.model_calls == 0


def test_the_same_picture_gives_the_same_bytes() -> None:
    product = placed(48, 64)
    lit = over(product, scene(48, 64))
    once, again = (run(network=tiny.upscaler(), **given(product, lit))[0] for _ in range(2))
    assert np.array_equal(once, again)


@pytest.mark.parametrize("wrong", [{"scale": 2}, {"input_channels": 1}])
def test_a_network_of_another_magnification_or_other_channels_is_refused(wrong: dict[str, int]) -> None:
    network = tiny.upscaler()
    for name, value in wrong.items():
        setattr(network, name, value)
    with pytest.raises(WeightsError, match="magnifies") as caught:
        run(network=network, **given(placed(32, 32), scene(32, 32)))
    assert caught.value.field == "upscaler"
    assert "4 times" in caught.value.remedy


def test_a_sharper_photos_product_comes_from_the_photo_under_the_same_light() -> None:
    pictures = sharp()
    result, context = run(network=tiny.upscaler(), **pictures)
    fallback, _ = run(network=tiny.upscaler(), **{**pictures, "product": pictures["placed"]})
    large = pictures["placed_large"]
    own, before = (measures(large, one)[0].value or 0 for one in (result, fallback))
    assert before < 0.8 < 0.99 < own
    core = cv2.erode((pictures["placed"][:, :, 3] == 255).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    light, mixs, unlit = (smooth(one)[core] for one in (reduced(result), pictures["lit"], pictures["scene"]))
    assert np.abs(light - mixs).max() < 4 < np.abs(light - unlit).max() / 5, "its light is mix's"
    assert "has 4.00 of its pixels to each of the working size, 1.00 to each of the final" in context.notes[0]


def test_without_light_the_products_bytes_are_the_placed_ones() -> None:
    pictures = sharp(more=2.0)
    unlit = {**pictures, "lit": pictures["scene"]}
    del unlit["scene"], unlit["relit"]
    result, _ = run(UpscaleParams(), **unlit)
    core = pictures["placed_large"][:, :, 3] == 255
    assert core.sum() > 50_000
    assert np.array_equal(result[core], pictures["placed_large"][:, :, :3][core])


def test_detail_that_only_the_final_size_shows_does_not_clip() -> None:
    """A weave that the working size averages to a grey with room for a stop of light, which its own threads have not.
    """
    side = 512
    rows, columns = np.mgrid[0:side, 0:side]
    weave = np.where((rows // 2 + columns // 2) % 2, 235, 40).astype(np.uint8)
    product = np.pad(np.dstack([weave] * 3 + [np.full_like(weave, 255)]), ((20, 20), (20, 20), (0, 0)))
    small, large = (place(PlaceParams(width=factor * 256, height=factor * 192, object_padding=0.25, force_center=False),
                          PassContext(), product=product) for factor in (1, 4))
    behind = np.full((192, 256, 3), 120, np.uint8)
    pasted, relit = over(small, behind), over(lit_by(small, 2.0), behind)
    lit = mixed(small, pasted, relit)
    assert stops_of(lit, small)[small[:, :, 3] == 255].mean() > 0.5, "the working picture has room"
    result, context = run(placed=small, lit=lit, product=product, placed_large=large, scene=pasted, relit=relit)
    ncc, clipped, _ = measures(large, result)
    assert (clipped.value or 0) <= 0.005
    assert (ncc.value or 0) > 0.99
    assert result[large[:, :, 3] == 255].max() >= 253, "up to there it is lit"
    assert "light is held back by up to 0." in context.notes[1]


def test_a_strap_too_thin_for_the_working_size_does_not_change_what_is_said_of_the_photo() -> None:
    product = np.zeros((1200, 1000, 4), np.uint8)
    product[700:1100, 200:800] = product[100:700, 250:252] = product[100:700, 750:752] = (90, 60, 30, 255)
    small, large = (place(PlaceParams(width=factor * 128, height=factor * 96, object_padding=0.1, force_center=False),
                          PassContext(), product=product) for factor in (1, 4))
    _, context = run(UpscaleParams(), placed=small, lit=over(small, np.full((96, 128, 3), 99, np.uint8)),
                     product=product, placed_large=large)
    assert "the photo has 11.67 of its pixels" in context.notes[0]


@pytest.mark.parametrize("more", [0.5, 1.0])
def test_a_photo_without_more_pixels_is_not_worse_than_the_lit_picture_resampled(more: float) -> None:
    pictures = sharp(more=more)
    result, context = run(**pictures)
    assert np.array_equal(result, lanczos(pictures["lit"]))
    assert "enlarged from the working picture" in context.notes[0]
    assert (measures(pictures["placed_large"], result)[0].value or 0) > 0.85, "and it is not held back for that"


@pytest.mark.parametrize("grey", [40, 230])
def test_the_edge_is_drawn_once_and_sharp(grey: int) -> None:
    """A plain product on a plain scene: between their two colours each row only rises, or only falls."""
    product = np.zeros((300, 300, 4), dtype=np.uint8)
    product[30:270, 30:270] = (128, 128, 128, 255)
    small, large = (place(PlaceParams(width=side, height=side, object_padding=0.3, force_center=True), PassContext(),
                          product=product) for side in (66, 264))
    lit = over(small, np.full((66, 66, 3), grey, np.uint8))
    row = run(UpscaleParams(), placed=small, lit=lit, product=product, placed_large=large)[0][132, :132, 0].astype(int)
    wanted = over(large, np.full((264, 264, 3), grey, np.uint8))[132, :132, 0].astype(int)
    assert np.abs(row - wanted).max() <= 2, "as if pasted at this size"
    assert np.abs(lanczos(lit)[132, :132, 0].astype(int) - wanted).max() > 20, "or there was nothing to win"


def test_the_large_product_lies_where_the_small_one_does() -> None:
    """Within a twentieth of a working pixel, by its print and by alpha's centre of mass; odd sizes too."""
    for height, width in ((96, 128), (75, 101)):
        pictures = sharp(more=3.3, height=height, width=width)
        small, large = (smooth(one) for one in (pictures["placed"], reduced(pictures["placed_large"])))
        for axis in (0, 1):
            slope = np.gradient(small[:, :, :3], axis=axis)
            assert abs(np.sum(slope * (large - small)[:, :, :3]) / np.sum(slope**2)) < 0.05, "pixels to this side"
            centres = [np.average(np.arange(one.shape[axis]), weights=one[:, :, 3].sum(axis=1 - axis))
                       for one in (small, large)]
            assert abs(centres[0] - centres[1]) < 0.05


def test_a_label_garbled_at_the_final_size_is_caught_there_and_not_at_the_working_size() -> None:
    pictures = sharp()
    result, _ = run(**pictures)
    broken = result.copy()
    y, x = np.argwhere(pictures["placed_large"][:, :, 3] == 255).mean(axis=0).astype(int)
    part = broken[y:y + 48, x:x + 48].reshape(12, 4, 12, 4, 3)
    broken[y:y + 48, x:x + 48] = part[:, ::-1, :, ::-1].reshape(48, 48, 3)  # each working pixel keeps its mean
    assert (measures(pictures["placed"], broken)[0].value or 0) > 0.85
    assert (measures(pictures["placed_large"], broken)[0].value or 0) < 0.7


@pytest.mark.parametrize(("tiling", "largest"), [
    (ModelTiling.SUPPORTED, 512), (ModelTiling.DISCOURAGED, None), (ModelTiling.INTERNAL, None)])
def test_a_network_that_looks_at_the_whole_picture_gets_it_whole(tiling: ModelTiling, largest: int | None) -> None:
    asks = SizeRequirements(minimum=30, multiple_of=10, square=True)
    network = SimpleNamespace(tiling=tiling, size_requirements=asks)
    made = tiling_of(network)
    assert (made.largest, made.multiple, made.minimum, made.square) == (largest, 80, 30, True)
