"""The line detectors of controlnet-aux: exact in size and place, imported only where one of them runs.

Importing controlnet_aux loads all of its detectors and their libraries: 2,000 modules and 2 seconds beside a loaded
torch (2026-11-21). So nothing here is imported at the top of a module, and our own Canny never pays for it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.pictures import Picture

Lines = NDArray[np.uint8]
"""(height, width), white on black."""

GRID = 64
"""controlnet-aux scales the shorter side to the resolution it is given, then rounds both sides to multiples of this
(util.resize_image of 0.0.10): 400 x 300 becomes 704 x 512, another aspect."""


def canny_fixed(picture: Picture, network: None = None) -> Lines:
    """Canny with the thresholds 100 and 200 and no blur: CannyDetector's defaults, as Canny ControlNets are fed."""
    detector = _library().CannyDetector()
    return _at_its_own_size(picture, lambda padded, side: detector(
        padded, detect_resolution=side, image_resolution=side, output_type="np"))


def lineart_standard(picture: Picture, network: None = None) -> Lines:
    """What is darker than its surroundings of 6 px (LineartStandardDetector's defaults): ink, seams, print. Soft."""
    detector = _library().LineartStandardDetector()
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        # A product without a line: it takes the median of nothing, gets NaN, and max(16, NaN) is 16 after all.
        warnings.filterwarnings("ignore", "Mean of empty slice", RuntimeWarning)
        return _at_its_own_size(picture, lambda padded, side: detector(
            padded, detect_resolution=side, output_type="np"))


def teed(picture: Picture, network: Any) -> Lines:
    """TEED's edges (arXiv 2308.06468) in the three levels 0, 127, 255 that TEEDdetector makes of their likelihood."""
    detector = _library().TEEDdetector(network)
    return _at_its_own_size(picture, lambda padded, side: detector(
        padded, detect_resolution=side, output_type="np"))


BY_NAME: Mapping[str, Callable[[Picture, Any], Lines]] = {
    "canny_fixed": canny_fixed, "lineart_standard": lineart_standard, "teed": teed}


def teed_network() -> Any:
    """TEED's torch module, 58,910 parameters, with weights yet to be filled in."""
    return _library().teed.ted.TED()


def _at_its_own_size(picture: Picture, detect: Callable[[Picture, int], Any]) -> Lines:
    """detect(padded picture, its shorter side), cut back to the picture's own size.

    At sides on the grid, and at the resolution that they have, controlnet-aux resizes nothing: no pixel moves and no
    line is blurred. Padded at the right and below by the border's own pixels, which are no edge.
    """
    height, width = picture.shape[:2]
    padded = cv2.copyMakeBorder(np.ascontiguousarray(picture), 0, -height % GRID, 0, -width % GRID,
                                cv2.BORDER_REPLICATE)
    found = np.asarray(detect(np.asarray(padded, dtype=np.uint8), min(padded.shape[:2])))
    if found.shape[:2] != padded.shape[:2]:
        raise ValueError(f"a line detector made {found.shape[:2]} of {padded.shape[:2]}")
    return np.asarray(found[:height, :width, 0], dtype=np.uint8)


def _library() -> Any:
    with _without_its_warnings():
        import controlnet_aux

    return controlnet_aux


@contextmanager
def _without_its_warnings() -> Generator[None]:
    """Importing controlnet-aux warns of detectors that nobody here uses (mediapipe, SAM) and of its libraries' old
    names. By module, so that a warning of ours that another thread gives meanwhile is still seen."""
    with warnings.catch_warnings():
        for module in (r"controlnet_aux\.", r"timm\.", r"torch\.jit\."):
            warnings.filterwarnings("ignore", module=module)
        yield
