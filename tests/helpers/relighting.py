"""Products, light and relit pictures for the tests of `mix`, and what is measured of its results."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from models.gain import to_encoded, to_linear
from models.mix import mix
from models.params import MixParams
from models.passes import PassContext
from models.pictures import Floats, Picture, rgb_of

EXAMPLES = Path(__file__).parents[2] / "examples"
SAMPLES = sorted(path.stem for path in (EXAMPLES / "products").iterdir())
SIDE = 256
ROWS, COLUMNS = np.mgrid[0:SIDE, 0:SIDE]
BACKGROUND = np.stack([90 + ROWS // 4, 120 + COLUMNS // 4, 150 - ROWS // 4], axis=2).astype(np.uint8)


def mixed(placed: Picture, scene: Picture, relit: Picture, scale: float = 1.0) -> Picture:
    return mix(MixParams(light_mix_scale=scale), PassContext(), placed=placed, scene=scene, relit=relit)


def carton(ink: int = 40, paper: int = 170, body: tuple[int, int, int] = (120, 70, 40)) -> Picture:
    """A rounded box with a printed label, softly edged."""
    drawn = Image.new("RGB", (SIDE, SIDE), body)
    pen = ImageDraw.Draw(drawn)
    pen.rectangle((56, 70, 200, 190), fill=(paper, paper, paper - 10))
    for line, words in enumerate(("OAT & RYE", "granola", "500 g net")):
        pen.text((64, 76 + 38 * line), words, fill=(ink, ink, ink + 10), font=ImageFont.load_default(28))
    shape = Image.new("L", (SIDE, SIDE), 0)
    ImageDraw.Draw(shape).rounded_rectangle((38, 30, 218, 226), radius=20, fill=255)
    return np.dstack([np.asarray(drawn), cv2.GaussianBlur(np.asarray(shape), (0, 0), 1.2)])


def lit_by(placed: Picture, factor: Floats | float) -> Picture:
    """The product alone under `factor` times the light, alpha unchanged."""
    brighter = np.clip(to_encoded((to_linear(rgb_of(placed)) * factor).astype(np.float32)), 0, 255)
    return np.dstack([np.rint(brighter).astype(np.uint8), placed[:, :, 3]])


def from_the_right(placed: Picture) -> Floats:
    """Light of -0.75 stops at the product's left end to +0.75 at its right, as a factor (1, width, 1)."""
    ends = np.flatnonzero(placed[:, :, 3].max(axis=0) > 127)[[0, -1]]
    return np.asarray(2 ** np.interp(np.arange(placed.shape[1]), ends, [-0.75, 0.75])[None, :, None], dtype=np.float32)


def sample(name: str, side: int = 1000) -> Picture:
    """A product of examples/ on its photo's canvas, cut out by its true mask; side: the longer one, in pixels."""
    photo = Image.open(EXAMPLES / "products" / f"{name}.jpg").convert("RGB")
    photo.putalpha(Image.open(EXAMPLES / "truth" / f"{name}-mask.png").convert("L"))
    photo.thumbnail((side, side), Image.Resampling.LANCZOS)
    return np.array(photo)


def garbled(placed: Picture, block: int = 16) -> Picture:
    """Every block of the product's inside turned upside down: as bright as before, and illegible."""
    turned = placed.copy()
    for top in range(0, placed.shape[0] - block + 1, block):
        for left in range(0, placed.shape[1] - block + 1, block):
            part = turned[top:top + block, left:left + block]
            if part[:, :, 3].min() == 255:
                part[:] = part[::-1, ::-1].copy()
    return turned


def luma(picture: Picture) -> Floats:
    return np.asarray(rgb_of(picture) @ np.array([0.2126, 0.7152, 0.0722]), dtype=np.float32)


def correlations(picture: Picture, placed: Picture) -> Floats:
    """Normalised cross-correlation with the product's own luma in each 32-px tile of nothing but detailed product."""
    found, own_luma, other_luma = [], luma(placed), luma(picture)
    for top in range(0, placed.shape[0] - 31, 32):
        for left in range(0, placed.shape[1] - 31, 32):
            tile = np.s_[top:top + 32, left:left + 32]
            own, other = own_luma[tile], other_luma[tile]
            if placed[tile][:, :, 3].min() == 255 and own.std() > 8:
                found.append(np.corrcoef(own.ravel(), other.ravel())[0, 1])
    assert len(found) >= 4
    return np.array(found, dtype=np.float32)


def stops_of(result: Picture, placed: Picture) -> Floats:
    """How much brighter each pixel came out than the product's own, in stops."""
    ratio = (to_linear(result).mean(axis=2) + 1e-3) / (to_linear(rgb_of(placed)).mean(axis=2) + 1e-3)
    return np.asarray(np.log2(ratio), dtype=np.float32)


def size_of_product(placed: Picture) -> float:
    """In pixels: the square root of its area."""
    return float(np.sqrt(np.count_nonzero(placed[:, :, 3] > 127)))


def dimmed(background: Picture, stops: Floats) -> Picture:
    """So many stops less light; stops: (height, width)."""
    linear = to_linear(background) * 2 ** -stops[:, :, None].astype(np.float32)
    return np.asarray(np.rint(np.clip(to_encoded(linear), 0, 255)), dtype=np.uint8)


def shadow_of(placed: Picture, depth: float = 1.5) -> Floats:
    """Stops that a soft light from above takes from the floor: a blurred foot, deepest right below the product."""
    size, height = size_of_product(placed), placed.shape[0]
    solid = placed[:, :, 3] > 127
    columns = np.flatnonzero(solid.any(axis=0))
    lowest = height - 1 - np.argmax(solid[::-1, columns], axis=0)
    low = lowest > lowest.max() - 0.4 * size
    foot = np.zeros(solid.shape, dtype=np.float32)
    foot[lowest[low], columns[low]] = 1
    soft = cv2.GaussianBlur(foot, (0, 0), 0.06 * size)
    return np.asarray(depth * soft / soft.max(), dtype=np.float32)
