"""A VAE that works in tiles, for one run: less memory for a slightly other picture.

diffusers 0.42.1 tiles only pictures larger than config.sample_size, 1024 px for SDXL's VAE, so that turning it on
changes nothing at the sizes that run out of memory; the tiles' size is therefore set here. Each tile is normalised over
itself (GroupNorm), so a tile may be a little lighter or darker than the whole picture's VAE would make it; they overlap
by a quarter and are faded into one another.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

LARGEST_TILE = 512
"""Pixels a side: a third of the memory of 1024 x 768, about."""
OVERLAP = 0.25
STEP = 64


def tile_for(longer_side: int) -> int | None:
    """A tile's side in pixels for a picture: half of its longer side, at most LARGEST_TILE. None where it is too small
    to be cut."""
    half = longer_side // (2 * STEP) * STEP
    return min(LARGEST_TILE, half) if half else None


@contextmanager
def tiled(vae: Any, side: int) -> Generator[None]:
    """While the block runs, diffusers' AutoencoderKL `vae` encodes and decodes in tiles of `side` pixels, a multiple of
    its factor. Afterwards it is as it was."""
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    meant = {"use_tiling": True, "tile_sample_min_size": side, "tile_latent_min_size": side // factor,
             "tile_overlap_factor": OVERLAP}
    before = {name: getattr(vae, name) for name in meant}
    try:
        for name, value in meant.items():
            setattr(vae, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(vae, name, value)
