"""What is printed on the products: flat artwork drawn with Pillow's own scalable font, and its lookup on a surface."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from studio import linear

Artwork = NDArray[np.float32]
Line = tuple[str, int, float]
"""Text, size in artwork pixels, height of its middle as a share of the artwork."""


def lookup(artwork: Artwork, across: NDArray[np.float32], up: NDArray[np.float32]) -> NDArray[np.float32]:
    """The artwork (h, w, 4), linear RGB and coverage, at `across` and `up` in 0..1 (from the lower left): (n, 4).

    Bilinear; outside 0..1 coverage is 0.
    """
    height, width = artwork.shape[:2]
    column, row = across * width - 0.5, (1 - up) * height - 0.5
    left, top = np.floor(column).astype(int), np.floor(row).astype(int)
    right_share, lower_share = (column - left)[:, None], (row - top)[:, None]

    def at(rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
        return artwork[rows.clip(0, height - 1), columns.clip(0, width - 1)]

    upper = at(top, left) * (1 - right_share) + at(top, left + 1) * right_share
    lower = at(top + 1, left) * (1 - right_share) + at(top + 1, left + 1) * right_share
    found = upper * (1 - lower_share) + lower * lower_share
    inside = (across >= 0) & (across <= 1) & (up >= 0) & (up <= 1)
    return np.where(inside[:, None], found, 0).astype(np.float32)


def printed(albedo: NDArray[np.float32], found: NDArray[np.float32]) -> NDArray[np.float32]:
    """A looked-up print (n, 4) over plain albedo (n, 3)."""
    return albedo * (1 - found[:, 3:]) + found[:, :3] * found[:, 3:]


@cache
def label(size: tuple[int, int], paper: str | None, ink: str, lines: Sequence[Line], frame: int = 0) -> Artwork:
    """Centred lines of text on paper (None prints straight on the product), with a frame `frame` pixels wide."""
    image = Image.new("RGBA", size, paper or _clear(ink))
    draw = ImageDraw.Draw(image)
    if frame:
        draw.rectangle((3 * frame, 3 * frame, size[0] - 3 * frame, size[1] - 3 * frame), outline=ink, width=frame)
    for text, points, middle in lines:
        write(draw, (size[0] / 2, size[1] * middle), text, points, ink)
    return artwork_of(image)


@cache
def dial(side: int) -> Artwork:
    """A watch face: minute marks, hour bars, ten past ten."""
    image = Image.new("RGBA", (side, side), "#16233f")
    draw = ImageDraw.Draw(image)
    centre = side / 2

    def spoke(turn: float, inner: float, outer: float, width: float, colour: str) -> None:
        x, y = np.sin(2 * np.pi * turn), -np.cos(2 * np.pi * turn)
        draw.line((centre + inner * centre * x, centre + inner * centre * y,
                   centre + outer * centre * x, centre + outer * centre * y), fill=colour, width=round(width * side))

    for minute in range(60):
        spoke(minute / 60, 0.90, 0.95, 0.005, "#c9cede")
    for hour in range(12):
        spoke(hour / 12, 0.76, 0.94, 0.022, "#f2efe6")
    write(draw, (centre, side * 0.33), "MERIDIAN", side // 14, "#f2efe6")
    write(draw, (centre, side * 0.69), "automatic", side // 22, "#c9cede")
    spoke(10.15 / 12, -0.08, 0.50, 0.030, "#f2efe6")
    spoke(9 / 60, -0.08, 0.72, 0.020, "#f2efe6")
    spoke(34 / 60, -0.16, 0.80, 0.006, "#e4572e")
    draw.circle((centre, centre), side * 0.022, fill="#e4572e")
    return artwork_of(image)


@cache
def shoe_panels(size: tuple[int, int]) -> Artwork:
    """The side of a shoe, as flat artwork: toe and heel panels, two stripes, stitching, a name at the heel."""
    width, height = size
    image = Image.new("RGBA", size, _clear("#f4f1ea"))
    draw = ImageDraw.Draw(image)

    def at(*shares: tuple[float, float]) -> list[tuple[float, float]]:
        return [(x * width, y * height) for x, y in shares]

    draw.polygon(at((0.0, 0.0), (0.22, 0.0), (0.18, 0.45), (0.24, 1.0), (0.0, 1.0)), fill="#12404a")
    draw.polygon(at((0.78, 1.0), (0.80, 0.66), (0.90, 0.50), (1.0, 0.45), (1.0, 1.0)), fill="#12404a")
    for start in (0.34, 0.43):
        draw.polygon(at((start, 1.0), (start + 0.05, 1.0), (start + 0.17, 0.34), (start + 0.13, 0.34)), fill="#ff7a59")
    for x, y in ((x, y) for x in (0.70, 0.73, 0.76) for y in (0.66, 0.73, 0.80)):
        draw.circle((x * width, y * height), 5, fill="#0d2f37")
    for offset in (0.012, 0.026):
        stitches = at((0.22 + offset, 0.0), (0.18 + offset, 0.45), (0.24 + offset, 1.0))
        draw.line(stitches, fill="#d8efe9", width=3)
    write(draw, (width * 0.118, height * 0.54), "BOLT", height // 9, "#f4f1ea")
    return artwork_of(image)


def write(draw: ImageDraw.ImageDraw, middle: tuple[float, float], text: str, points: int, ink: str) -> None:
    draw.text(middle, text, fill=ink, font=ImageFont.load_default(size=points), anchor="mm")


def artwork_of(image: Image.Image) -> Artwork:
    straight = np.asarray(image.convert("RGBA"), dtype=np.float32) / 255
    return np.concatenate([linear(straight[:, :, :3]), straight[:, :, 3:]], axis=2)


def _clear(ink: str) -> tuple[int, int, int, int]:
    """Transparent, but of the ink's colour: bilinear lookup mixes hidden colours in."""
    red, green, blue = (int(ink[start:start + 2], 16) for start in (1, 3, 5))
    return (red, green, blue, 0)
