"""Render every sample product: studio photos under products/, true masks and depths under truth/. Deterministic.

    python examples/render.py                                   everything, a few minutes on one core
    python examples/render.py --only mug --scale 0.2 --into look

A mask is 8-bit alpha with real soft edges (the jar's glass is partly transparent); a depth map is 8-bit inverse
distance of product, table and wall, nearest 255. The hard-* photos show the same stills before difficult backdrops.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from goods import BACKDROPS, HARDER, STILLS
from numpy.typing import NDArray
from PIL import Image
from studio import Shot, developed, photographed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=sorted(STILLS), action="append", help="a product; may be given again")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full size, for a quick look")
    parser.add_argument("--into", type=Path, default=Path(__file__).parent, help="the folder of products/ and truth/")
    chosen = parser.parse_args()
    for name in chosen.only or STILLS:
        render(name, chosen.scale, chosen.into)


def render(name: str, scale: float, into: Path) -> None:
    """One product before its own backdrop and every harder one it is used for."""
    shot = photographed(STILLS[name](), scale)
    backdrops = {name: BACKDROPS[name]} | {hard: backdrop for hard, (of, backdrop) in HARDER.items() if of == name}
    for picture, backdrop in backdrops.items():
        save_photo(developed(shot, backdrop, picture), into / "products" / f"{picture}.jpg")
        save_grey(np.rint(shot.alpha * 255), into / "truth" / f"{picture}-mask.png")
    save_grey(_depth(shot), into / "truth" / f"{name}-depth.png")


def save_photo(photo: NDArray[np.uint8], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photo).save(path, quality=90, subsampling="4:2:0", optimize=True)


def save_grey(values: NDArray[np.float32], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint8)).save(path, optimize=True)


def _depth(shot: Shot) -> NDArray[np.float32]:
    low, high = shot.nearness.min(), shot.nearness.max()
    return np.asarray(np.rint((shot.nearness - low) / (high - low) * 255))


if __name__ == "__main__":
    main()
