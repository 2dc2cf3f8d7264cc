"""How much of the photo's own detail does a picture at four times the size show? The pass, and the way before it.

    PYTHONPATH=tests/helpers python benchmarks/upscale.py    prints a table, writes benchmarks/results/DATE-upscale.md

Each sample is placed by its true mask on a canvas of 512 x 384, relit by a lamp of -0.75 to +0.75 stops whose label is
garbled on purpose, and mixed. Then it is enlarged with the product from the photo's pixels (since version 2) and from
the mixed picture by Lanczos, as version 1 did. Likeness: correlation of the product's detail (luma less its blur of
4 px) with the placed photo's at the final size, of the whole core and of the worst tile of 32 px.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from relighting import EXAMPLES, dimmed, from_the_right, garbled, lit_by, luma, mixed, shadow_of

from models.fidelity import measures
from models.params import PlaceParams, UpscaleParams
from models.passes import PassContext
from models.pictures import Picture, over
from models.place import place
from models.upscale import upscale

WIDTH, HEIGHT, FACTOR = 512, 384, 4
SAMPLES = ("bottle", "mug", "shoe-box", "sneaker", "watch")
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    rows = [row(name) for name in SAMPLES]
    text = page(rows)
    print(text)
    (RESULTS / f"{datetime.now(UTC):%Y-%m-%d}-upscale.md").write_text(text, encoding="utf-8")


def row(name: str) -> str:
    product = np.dstack([np.array(Image.open(EXAMPLES / "products" / f"{name}.jpg").convert("RGB")),
                         np.array(Image.open(EXAMPLES / "truth" / f"{name}-mask.png").convert("L"))])
    placed, large = (placed_at(product, times) for times in (1, FACTOR))
    backdrop = ramp()
    scene = over(placed, backdrop)
    relit = over(lit_by(garbled(placed), from_the_right(placed)), dimmed(backdrop, shadow_of(placed)))
    lit = mixed(placed, scene, relit)
    context = PassContext()
    new = upscale(UpscaleParams(light_mix_scale=1), context, placed=placed, lit=lit, product=product,
                  placed_large=large, scene=scene, relit=relit)
    old = np.array(Image.fromarray(lit).resize((WIDTH * FACTOR, HEIGHT * FACTOR), Image.Resampling.LANCZOS))
    more = context.notes[0].split(" ")[3]
    return (f"| {name} | {more} | {detail(old, large):.3f} | {detail(new, large):.3f} | {worst(old, large)} | "
            f"{worst(new, large)} |")


def placed_at(product: Picture, times: int) -> Picture:
    layout = PlaceParams(width=WIDTH * times, height=HEIGHT * times, object_padding=0.1, force_center=False)
    return place(layout, PassContext(), product=product)


def ramp() -> Picture:
    """A backdrop that tells up from down."""
    down = np.linspace(0, 60, HEIGHT)[:, None, None] * np.array([1, 1, -1]) + np.array([120, 130, 150])
    return np.asarray(np.broadcast_to(down, (HEIGHT, WIDTH, 3)), dtype=np.uint8)


def detail(picture: Picture, large: Picture) -> float:
    core = cv2.erode(np.asarray(large[:, :, 3] == 255, dtype=np.uint8), np.ones((9, 9), np.uint8)) > 0
    sharp = [one - cv2.GaussianBlur(one, (0, 0), 4) for one in (luma(picture), luma(large[:, :, :3]))]
    return float(np.corrcoef(*(one[core] for one in sharp))[0, 1])


def worst(picture: Picture, large: Picture) -> str:
    value = next(one.value for one in measures(large, picture) if one.name == "min_tile_ncc")
    return "none textured" if value is None else f"{value:.3f}"


def page(rows: list[str]) -> str:
    return "\n".join([
        f"# The product at four times the size, {datetime.now(UTC):%Y-%m-%d}", "",
        f"`benchmarks/upscale.py`, {os.cpu_count()} cores, no GPU, no network: the scene is Lanczos in both. Working "
        f"size {WIDTH} x {HEIGHT}. The light is smooth, so an honest product has nearly the photo's own detail.", "",
        "| sample | photo pixels to a working one | detail, from the working picture | detail, from the photo | "
        "worst tile, from the working picture | worst tile, from the photo |", "|---|---:|---:|---:|---:|---:|",
        *rows, ""])


if __name__ == "__main__":
    main()
