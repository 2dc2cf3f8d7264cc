"""The detectors of controlnet-aux: of exactly the picture's size, every line in its place, imported only where used."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional

from models import line_detectors, tiny
from models.control_maps import lines
from models.line_detectors import _without_its_warnings
from models.params import LineDetector, LinesParams
from models.passes import PassContext
from models.pictures import Picture

DETECTORS: tuple[LineDetector, ...] = ("canny", "canny_fixed", "lineart_standard", "teed")
SIZES = [(300, 400), (400, 300), (96, 160), (1200, 800), (161, 97), (64, 64)]  # height, width
HEIGHT, WIDTH = 96, 160
ROWS, COLUMNS = np.mgrid[0:HEIGHT, 0:WIDTH]
INSIDE = np.hypot(ROWS - 48, COLUMNS - 70) < 35


class Steps(torch.nn.Module):
    """In TEED's place where its lines must be known: likely an edge where brightness steps, as its four outputs say."""

    def __init__(self) -> None:
        super().__init__()
        self.sure = torch.nn.Parameter(torch.tensor(1.0))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        grey = functional.pad(x.mean(dim=1, keepdim=True), (1, 1, 1, 1), mode="replicate")
        across = (grey[:, :, 1:-1, 2:] - grey[:, :, 1:-1, :-2]).abs()
        down = (grey[:, :, 2:, 1:-1] - grey[:, :, :-2, 1:-1]).abs()
        return [self.sure * (across + down - 60)] * 4


def context(network: Any) -> PassContext:
    return PassContext(models={"lines": network})


def drawn(detector: LineDetector, placed: Picture, network: Any = None) -> np.ndarray:
    made = lines(LinesParams(detector=detector), context(network) if detector == "teed" else PassContext(),
                 placed=placed)
    assert made.shape == (*placed.shape[:2], 3)
    assert made.dtype == np.uint8
    assert (made == made[:, :, :1]).all()
    return made[:, :, 0]


def product(grey: np.ndarray | int, mask: np.ndarray = INSIDE) -> Picture:
    """A product of that grey (0..255); hidden noise under alpha 0, which no map may show."""
    hidden = np.random.default_rng(5).integers(0, 256, mask.shape)
    seen = np.where(mask, grey, hidden)
    return np.dstack([seen, seen, seen, 255 * mask]).astype(np.uint8)


def contour(mask: np.ndarray) -> np.ndarray:
    return mask & ~(cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
@pytest.mark.parametrize("detector", DETECTORS)
def test_a_rectangles_lines_lie_on_its_sides_whatever_the_size(detector: LineDetector, size: tuple[int, int]) -> None:
    """Its sides are known to the pixel: a step for the edge detectors, a thin dark line for the one that finds ink."""
    height, width = size
    top, bottom, left, right = height // 4, height - height // 5, width // 5, width - width // 3
    grey = np.full(size, 220, np.uint8)
    cv2.rectangle(grey, (left, top), (right, bottom), 60, 1 if detector == "lineart_standard" else cv2.FILLED)
    found = drawn(detector, product(grey, np.ones(size, bool)), Steps()) > 60

    y, x = (top + bottom) // 2, (left + right) // 2
    inner = np.s_[8:-8]  # off the contour
    across, down = np.nonzero(found[y, inner])[0] + 8, np.nonzero(found[inner, x])[0] + 8
    for at, sides in ((across, (left, right)), (down, (top, bottom))):
        assert all(np.abs(at - side).min() <= 1 for side in sides), f"no line at one of {sides}, only at {at}"
        assert all(min(abs(line - side) for side in sides) <= 1 for line in at), f"lines at {at}, not at {sides}"


@pytest.mark.parametrize("size", [(96, 160), (161, 97), (64, 64)], ids=lambda size: "x".join(map(str, size)))
def test_the_network_is_called_once_and_its_map_has_the_pictures_size(size: tuple[int, int]) -> None:
    given = context(tiny.teed())
    made = lines(LinesParams(detector="teed"), given,
                 placed=product(np.where(np.indices(size).sum(axis=0) // 6 % 2, 60, 190), np.ones(size, bool)))
    assert made.shape == (*size, 3)
    assert set(np.unique(made)) == {0, 127, 255}
    assert given.model_calls == 1


@pytest.mark.parametrize("detector", DETECTORS)
def test_lines_are_those_of_the_product_only(detector: LineDetector) -> None:
    stripes = np.where((COLUMNS // 12) % 2, 60, 190)
    placed = product(stripes)
    made = drawn(detector, placed, tiny.teed())
    assert not made[~INSIDE].any()
    assert (made[contour(INSIDE)] == 255).sum() > 2 * np.pi * 35 * 0.8
    cleaned = np.where(INSIDE[:, :, None], placed, 0).astype(np.uint8)
    assert (made == drawn(detector, cleaned, tiny.teed())).all(), "what lies under alpha 0 is seen"


@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize("grey", [0, 128, 255])
@pytest.mark.filterwarnings("error")
def test_the_ground_around_a_plain_product_makes_no_line(detector: LineDetector, grey: int) -> None:
    made = drawn(detector, product(grey), Steps())
    assert not made[~contour(INSIDE)].any()


def test_ink_is_white_and_paper_black() -> None:
    made = drawn("lineart_standard", product(np.where(np.abs(COLUMNS - 70) < 2, 40, 220)))
    assert (made[30:66, 69:72] > 100).all()
    assert not made[30:66, 45:60].any()


@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.filterwarnings("error")
def test_a_product_too_thin_for_inner_lines_has_its_contour(detector: LineDetector) -> None:
    thread = np.abs(ROWS - 40) < 2
    assert (drawn(detector, product(90, thread), tiny.teed()) > 0).sum() >= WIDTH


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-W", "default", "-c", code], capture_output=True, text=True, timeout=120,
                          check=True)


MAKE = """
import sys
import numpy as np
from models.control_maps import lines
from models.params import LinesParams
from models.passes import PassContext
sys.stderr = open({log!r}, "w")
placed = np.full((64, 64, 4), 255, np.uint8)
placed[20:40, 20:40, :3] = 0
made = lines(LinesParams(detector={detector!r}), PassContext(), placed=placed)
import warnings
warnings.warn("one of ours")
print(sorted({{name.partition(".")[0] for name in sys.modules}} & {{"controlnet_aux", "timm", "skimage"}}), made.any())
"""


@pytest.mark.parametrize(("detector", "modules"), [
    ("canny", "[]"), ("lineart_standard", "['controlnet_aux', 'skimage', 'timm']")])
def test_only_the_detectors_of_the_library_import_it_and_without_a_word(
        tmp_path: Any, detector: str, modules: str) -> None:
    log = tmp_path / "stderr"
    assert run(MAKE.format(detector=detector, log=str(log))).stdout.strip() == f"{modules} True"
    said = [line for line in log.read_text().splitlines() if "Warning" in line]
    assert len(said) == 1, said
    assert "one of ours" in said[0], "and what we say later is heard"


def test_a_warning_of_ours_is_heard_even_while_the_library_is_imported() -> None:
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        with _without_its_warnings():
            warnings.warn_explicit("theirs", FutureWarning, "file.py", 1, module="timm.models.layers")
            warnings.warn_explicit("ours", UserWarning, "file.py", 1, module="models.zoo")
    assert [str(one.message) for one in heard] == ["ours"]


def test_a_detector_that_returns_another_size_is_an_error_and_never_stretched() -> None:
    with pytest.raises(ValueError, match=r"made \(64, 64\) of \(128, 192\)"):
        line_detectors._at_its_own_size(np.zeros((100, 140, 3), np.uint8), lambda padded, side: padded[:64, :64])
