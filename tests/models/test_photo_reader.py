"""The photo reader's pixels may move only under a new name: unchanged photos are not decoded again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from photo_files import decoded

from models.photos import READER
from models.pictures import decode_png, encode_png


def test_pixels_stay_while_the_readers_name_does() -> None:
    """A real photo's middle against the picture kept under the reader's name; delete that to write it anew."""
    photo = Path(__file__).parents[2] / "examples" / "products" / "watch.jpg"
    kept = Path(__file__).parent / f"ingest-{READER}.png"
    middle = decoded(photo.read_bytes()).picture[400:464, 300:396]
    if not kept.exists():
        kept.write_bytes(encode_png(middle))
        pytest.fail(f"wrote {kept.name}: look at it and commit it")
    off = np.abs(decode_png(kept.read_bytes()).astype(np.int16) - middle)
    assert off.max() <= 1, f"the pixels moved by up to {off.max()} levels: rename READER in models/photos.py"
