"""The neural matte: BiRefNet, or any network that takes a square picture and gives logits of its foreground."""

from __future__ import annotations

import cv2
import numpy as np

from models.components import MattingComponents
from models.errors import WeightsError
from models.guided_filter import guided_filter
from models.matte import EDGE_AREA, shrunk
from models.pictures import Floats, Picture

MEAN, DEVIATION = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], dtype=np.float32)
"""ImageNet's, by which BiRefNet's inputs are normalised (spec/omni-bg.md 5.3)."""

HAZE = 0.02
"""Share of alpha cut at both ends: a sigmoid reaches neither 0 nor 1, and what is nearly opaque should be the photo's
own bytes. Five of 255 levels, ours."""

RADIUS, EPSILON = 2, 1e-4
"""Of the guided filter at EDGE_AREA, where one pixel is about one of the network's at 1024 x 1024. True mattes of four
samples, shrunk to a quarter and blurred by one of its pixels as a network's are, came back with 0.55 to 0.83 of the
edge error that plain enlarging leaves; radii 1 and 3 differed from it by 0.02 at most (2026-11-21)."""


def neural_matte(photo: Picture, weights: MattingComponents) -> Floats:
    """The alpha (height, width), float32 in 0..1, that the network sees in an RGB photo. One model call.

    Not stretched to its own range, as demos do: of a photo without a product that would make one out of noise. Raises
    WeightsError where the network gives numbers that are none.
    """
    return at_the_photos_size(_seen(photo, weights), photo)


def _seen(photo: Picture, weights: MattingComponents) -> Floats:
    """The matte at the network's size (side, side), squeezed as the photo was."""
    squeezed = cv2.resize(photo, (weights.side, weights.side), interpolation=cv2.INTER_AREA)
    pixels = (squeezed.astype(np.float32) / np.float32(255) - MEAN) / DEVIATION
    [name] = [one.name for one in weights.session.get_inputs()]
    logits = np.asarray(weights.session.run(None, {name: pixels.transpose(2, 0, 1)[None]})[-1], dtype=np.float32)
    if logits.size != weights.side ** 2 or not np.isfinite(logits).all():
        raise WeightsError(f"it gave {logits.shape} numbers, not all finite, for a matte of {weights.side} x "
                           f"{weights.side}", field="weights", value="matting",
                           remedy="Fetch the model's file again, or set BACKLOT_MATTING=classical")
    alpha = 1 / (1 + np.exp(-np.clip(logits.reshape(weights.side, weights.side), -30, 30)))
    return np.asarray(np.clip((alpha - HAZE) / (1 - 2 * HAZE), 0, 1), dtype=np.float32)


def at_the_photos_size(seen: Floats, photo: Picture) -> Floats:
    """A matte of any size, at the photo's, its edge where the photo has one.

    The guided filter puts the edge where the photo's colours change. What it gives stays between the least and the
    greatest alpha around, so that it moves edges and adds none: glass of an even 0.5 stays so whatever stands behind.
    """
    guide = shrunk(photo, EDGE_AREA).astype(np.float32) / np.float32(255)
    coarse = np.clip(cv2.resize(seen, (guide.shape[1], guide.shape[0]), interpolation=cv2.INTER_LINEAR), 0, 1)
    alpha = guided_filter(coarse, guide, photo.astype(np.float32) / np.float32(255), radius=RADIUS, epsilon=EPSILON)
    around, size = np.ones((2 * RADIUS + 1,) * 2, np.uint8), (photo.shape[1], photo.shape[0])
    least = cv2.resize(cv2.erode(coarse, around), size, interpolation=cv2.INTER_LINEAR)
    most = cv2.resize(cv2.dilate(coarse, around), size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.clip(alpha, least, most), dtype=np.float32)
