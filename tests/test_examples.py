"""The committed examples: what the renderer makes, readable as photos, with truth and a valid document each."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from flows.documents import read_document
from flows.omni_bg_document import OmniBgParams
from models.photos import decode_photo

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
PRODUCTS = ("bottle", "glass-jar", "mug", "shoe-box", "sneaker", "watch")
HARDER = ("hard-same-colour", "hard-shadow", "hard-wood")


def grey(name: str) -> np.ndarray:
    return cv2.imread(str(EXAMPLES / "truth" / f"{name}.png"), cv2.IMREAD_UNCHANGED)


def test_every_sample_has_its_files_and_none_is_left_over() -> None:
    assert sorted(path.stem for path in (EXAMPLES / "products").iterdir()) == sorted(PRODUCTS + HARDER)
    assert sorted(path.stem for path in (EXAMPLES / "omni-bg").iterdir()) == sorted(PRODUCTS)
    assert sorted(path.stem for path in (EXAMPLES / "truth").iterdir()) == sorted(
        [f"{name}-mask" for name in PRODUCTS + HARDER] + [f"{name}-depth" for name in PRODUCTS])


def test_all_of_them_together_stay_small_enough_to_commit() -> None:
    sizes = [path.stat().st_size for folder in ("products", "truth") for path in (EXAMPLES / folder).iterdir()]
    assert sum(sizes) < 3_000_000


@pytest.mark.parametrize("name", PRODUCTS + HARDER)
def test_a_photo_is_a_jpeg_of_about_1000_pixels_with_a_mask_of_its_size(name: str) -> None:
    path = EXAMPLES / "products" / f"{name}.jpg"
    photo = decode_photo(path.read_bytes(), name=path.name)
    mask = grey(f"{name}-mask")
    assert (photo.format, photo.warnings) == ("JPEG", ())
    assert max(photo.picture.shape) == 1000
    assert mask.shape == photo.picture.shape[:2]
    assert mask.dtype == np.uint8
    assert (mask.min(), mask.max()) == (0, 255)
    assert np.count_nonzero((mask > 20) & (mask < 235)) > 1000, "the edge is soft"
    assert 0.05 < (mask > 127).mean() < 0.6


@pytest.mark.parametrize("name", PRODUCTS)
def test_depth_is_largest_on_what_is_near(name: str) -> None:
    depth, mask = grey(f"{name}-depth"), grey(f"{name}-mask")
    assert depth.shape == mask.shape
    assert (depth.min(), depth.max()) == (0, 255)
    assert depth[-1].mean() > depth[0].mean() + 100, "the table's near edge against the wall"
    assert depth[mask > 250].mean() > depth[: len(depth) // 10].mean() + 40, "the product against the wall"


def test_the_jars_glass_is_partly_transparent_and_every_other_product_is_solid() -> None:
    for name in PRODUCTS:
        core = cv2.morphologyEx(grey(f"{name}-mask"), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
        partly = np.mean((core > 12) & (core < 200)) / np.mean(core > 12)
        assert partly > 0.2 if name == "glass-jar" else partly < 0.02, name


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_document_is_valid_names_its_photo_and_fixes_its_seed(name: str) -> None:
    path = EXAMPLES / "omni-bg" / f"{name}.yaml"
    document = OmniBgParams.model_validate(read_document(path))
    assert (path.parent / document.image).resolve() == EXAMPLES / "products" / f"{name}.jpg"
    assert document.seed >= 0
    assert -1 <= document.proposed_brightness <= 1


def test_every_document_has_a_seed_of_its_own() -> None:
    assert len({read_document(path)["seed"] for path in (EXAMPLES / "omni-bg").iterdir()}) == len(PRODUCTS)


def test_the_renderer_still_makes_these_pictures(tmp_path: Path) -> None:
    """At a tenth of the size: the same outline and, but for noise and JPEG, the same colours."""
    subprocess.run([sys.executable, EXAMPLES / "render.py", "--only", "mug", "--scale", "0.1", "--into", tmp_path],
                   check=True, timeout=120, capture_output=True)
    small = cv2.imread(str(tmp_path / "products" / "mug.jpg"))
    committed = cv2.resize(cv2.imread(str(EXAMPLES / "products" / "mug.jpg")), (100, 80), interpolation=cv2.INTER_AREA)
    assert small.shape == (80, 100, 3)
    assert np.abs(small.astype(int) - committed).mean() < 6

    outline = cv2.imread(str(tmp_path / "truth" / "mug-mask.png"), cv2.IMREAD_GRAYSCALE) > 127
    wanted = cv2.resize(grey("mug-mask"), (100, 80), interpolation=cv2.INTER_AREA) > 127
    assert np.sum(outline & wanted) / np.sum(outline | wanted) > 0.98
