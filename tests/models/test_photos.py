"""Photos of every kind become upright 8-bit sRGB. All files are made here."""

from __future__ import annotations

import struct
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import pytest
from colour_profiles import (
    INK_COLOURS,
    P3_TO_XYZ,
    SRGB_TO_XYZ,
    as_srgb,
    cmyk_profile,
    curve,
    grey_profile,
    linear,
    rgb_profile,
)
from numpy.typing import NDArray
from photo_files import RAMP, Pixels, chunk, decoded, png, saved, textured
from PIL import Image

from models import photos
from models.photos import _brief

# --- orientation ----------------------------------------------------------------------------------------------------


def stored_for(orientation: int, upright: Pixels) -> Pixels:
    """The rows as a camera stores them: EXIF says which visual side row 0 and column 0 are."""
    turned = {1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
              5: upright.swapaxes(0, 1), 6: upright.swapaxes(0, 1)[::-1],
              7: upright.swapaxes(0, 1)[::-1, ::-1], 8: upright.swapaxes(0, 1)[:, ::-1]}
    return np.ascontiguousarray(turned[orientation])


def orientation_tag(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_upright_pixel_for_pixel(kind: str, orientation: int) -> None:
    stored = stored_for(orientation, textured())
    photo = decoded(saved(stored, kind, exif=orientation_tag(orientation), lossless=True))
    assert np.array_equal(photo.picture, textured())
    assert (photo.height, photo.width) == stored.shape[:2]
    assert photo.warnings == ()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_of_every_orientation_is_turned_upright(orientation: int) -> None:
    data = saved(stored_for(orientation, textured()), "JPEG", quality=95, exif=orientation_tag(orientation))
    difference = np.abs(decoded(data).picture.astype(int) - textured())
    assert difference.mean() < 2


def test_alpha_turns_with_its_picture() -> None:
    upright = np.dstack([textured(), textured()[:, :, 0]])
    data = saved(stored_for(6, upright), "PNG", exif=orientation_tag(6))
    assert np.array_equal(decoded(data).picture, upright)


@pytest.mark.parametrize("orientation", [0, 9, 255])
def test_an_orientation_that_means_nothing_is_ignored_and_said(orientation: int) -> None:
    photo = decoded(saved(textured(), "PNG", exif=orientation_tag(orientation)))
    assert np.array_equal(photo.picture, textured())
    assert photo.warnings == (
        f"its EXIF orientation is {orientation}, which means nothing: taken as upright",)


@pytest.mark.parametrize("exif", [
    b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0nonsense", b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12" * 40,
    b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0"])
def test_broken_exif_never_refuses_a_photo(exif: bytes, recwarn: pytest.WarningsRecorder) -> None:
    photo = decoded(saved(textured(), "JPEG", exif=exif))
    assert np.abs(photo.picture.astype(int) - textured()).mean() < 4
    assert [note[:12] for note in photo.warnings] == ([] if b"nonsense" in exif else ["Corrupt EXIF"])
    assert not recwarn.list


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("exif", [b"canary-", b"II*\0", b"II+\0\x08\0\0\0"])
def test_exif_that_cannot_be_read_at_all_is_said_without_its_words(kind: str, exif: bytes) -> None:
    photo = decoded(saved(textured(), kind, lossless=True, exif=exif))
    assert np.array_equal(photo.picture, textured())
    assert photo.warnings == ("its EXIF data cannot be read: taken as upright",)


# --- colour ---------------------------------------------------------------------------------------------------------


def test_a_photo_without_a_profile_keeps_its_bytes() -> None:
    assert np.array_equal(decoded(saved(textured())).picture, textured())


def test_another_makers_srgb_profile_changes_no_byte() -> None:
    """With its curve as a table of 1,024 values, as the common one has it: a round trip would move 1 byte in 800."""
    noise = np.random.default_rng(0).integers(0, 256, (500, 500, 3), dtype=np.uint8)
    table = np.rint(linear(np.linspace(0, 255, 1024)) * 65535).astype(">u2").tobytes()
    profile = rgb_profile(SRGB_TO_XYZ, b"curv\0\0\0\0" + struct.pack(">I", 1024) + table)
    photo = decoded(saved(noise, icc_profile=profile))
    assert np.array_equal(photo.picture, noise)
    assert photo.warnings == ()


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_display_p3_becomes_the_same_light_in_srgb(kind: str) -> None:
    photo = decoded(saved(textured(), kind, icc_profile=rgb_profile(P3_TO_XYZ, curve(2.2)), lossless=True))
    light = (textured() / 255) ** 2.2 @ P3_TO_XYZ.T @ np.linalg.inv(SRGB_TO_XYZ).T
    expected = as_srgb(light)
    assert np.abs(photo.picture - expected).max() <= 2
    assert np.abs(photo.picture.astype(int) - textured()).mean() > 4, "the profile has no effect to test"
    assert photo.warnings == ()


def test_colour_is_converted_under_alpha_and_alpha_is_not() -> None:
    alpha = RAMP[:, :112].repeat(2, axis=0)[:80]
    data = saved(np.dstack([textured(), alpha]), icc_profile=rgb_profile(P3_TO_XYZ, curve(2.2)))
    opaque = decoded(saved(textured(), icc_profile=rgb_profile(P3_TO_XYZ, curve(2.2)))).picture
    assert np.array_equal(decoded(data).picture, np.dstack([opaque, alpha]))


def test_grey_goes_through_its_own_profile() -> None:
    photo = decoded(saved(RAMP, icc_profile=grey_profile(1.0)))
    expected = as_srgb(np.repeat(RAMP[:, :, None] / 255, 3, axis=2))
    assert np.abs(photo.picture - expected).max() <= 2


def inks(c: int, m: int, y: int, k: int) -> Image.Image:
    return Image.new("CMYK", (64, 64), (255 * c, 255 * m, 255 * y, 255 * k))


@pytest.mark.parametrize("corner", [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (1, 1, 0, 0), (0, 0, 0, 1)])
def test_cmyk_goes_through_its_profile(corner: tuple[int, int, int, int]) -> None:
    data = saved(inks(*corner), "JPEG", quality=100, icc_profile=cmyk_profile(INK_COLOURS))
    photo = decoded(data)
    light = linear(INK_COLOURS[corner])
    assert np.abs(photo.picture[32, 32] - as_srgb(light)).max() <= 3
    assert photo.warnings == ()


@pytest.mark.parametrize(("corner", "colour"), [
    ((0, 0, 0, 0), (255, 255, 255)), ((1, 0, 0, 0), (0, 255, 255)), ((0, 1, 1, 0), (255, 0, 0)),
    ((0, 0, 0, 1), (0, 0, 0))])
def test_cmyk_without_a_profile_takes_the_documented_default_and_says_so(
        corner: tuple[int, int, int, int], colour: tuple[int, int, int]) -> None:
    photo = decoded(saved(inks(*corner), "JPEG", quality=100))
    assert np.abs(photo.picture[32, 32].astype(int) - colour).max() <= 2
    assert photo.warnings == ("it is CMYK without a usable colour profile: its colours are approximate",)


def test_cmyk_without_adobes_marker_is_read_as_inverted_and_said() -> None:
    data = saved(inks(0, 1, 1, 0), "JPEG", quality=100)
    at = data.index(b"\xff\xee")
    length = struct.unpack(">H", data[at + 2:at + 4])[0]
    photo = decoded(data[:at] + data[at + 2 + length:])
    assert np.abs(photo.picture[32, 32].astype(int) - (255, 0, 0)).max() <= 2
    assert photo.warnings[1] == "it is CMYK without Adobe's marker: read as inverted, as Adobe writes it"


@pytest.mark.parametrize(("profile", "told"), [
    (b"not a profile at all", "its colour profile cannot be read"),
    (rgb_profile(P3_TO_XYZ, curve(2.2))[:200], "its colour profile cannot be read"),
    (rgb_profile(P3_TO_XYZ, curve(2.2)) + bytes(1_000_000), "its colour profile has 1,000,"),
    (grey_profile(1.0), "its colour profile is for GRAY, and it is RGB"),
    (cmyk_profile(INK_COLOURS), "its colour profile is for CMYK, and it is RGB")])
def test_a_useless_profile_is_left_aside_and_said(profile: bytes, told: str) -> None:
    photo = decoded(saved(textured(), "WEBP", lossless=True, icc_profile=profile))
    assert np.array_equal(photo.picture, textured())
    assert len(photo.warnings) == 1
    assert photo.warnings[0].startswith(told)
    assert photo.warnings[0].endswith("taken as sRGB")


# --- depths and modes -----------------------------------------------------------------------------------------------


def wide(shape: tuple[int, ...]) -> NDArray[np.uint16]:
    values = np.linspace(0, 65535, int(np.prod(shape))).round().astype(np.uint16)
    return np.random.default_rng(7).permutation(values).reshape(shape)


def by_opencv(picture: NDArray[Any]) -> bytes:
    done, data = cv2.imencode(".png", picture)
    assert done
    return bytes(data)


def test_sixteen_bit_grey_is_scaled_and_not_clipped() -> None:
    values = wide((64, 96))
    photo = decoded(by_opencv(values))
    expected = np.rint(values / 257).astype(np.uint8)
    assert np.array_equal(photo.picture, np.repeat(expected[:, :, None], 3, axis=2))
    assert 126 < photo.picture.mean() < 129


def test_sixteen_bit_colour_and_alpha_are_scaled_to_within_a_step() -> None:
    values = wide((64, 96, 4))
    photo = decoded(by_opencv(values))
    expected = values[:, :, [2, 1, 0, 3]] / 257
    assert np.abs(photo.picture - expected).max() <= 1
    assert np.abs(decoded(by_opencv(values[:, :, :3])).picture - expected[:, :, :3]).max() <= 1


def test_sixteen_bit_grey_with_alpha_keeps_both() -> None:
    values = wide((64, 96, 2))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    photo = decoded(png(96, 64, 16, 4, rows))
    assert np.abs(photo.picture[:, :, 0] - values[:, :, 0] / 257).max() <= 1
    assert np.abs(photo.picture[:, :, 3] - values[:, :, 1] / 257).max() <= 1


def test_one_transparent_colour_works_at_sixteen_bits() -> None:
    rows = (b"\0" + struct.pack(">HH", 4000, 4001) * 32) * 64
    photo = decoded(png(64, 64, 16, 0, rows, chunk(b"tRNS", struct.pack(">H", 4001))))
    assert photo.picture[0, :2].tolist() == [[16, 16, 16, 255], [16, 16, 16, 0]]
    rows = (b"\0" + struct.pack(">6H", 65535, 1, 2, 30000, 40000, 50000) * 32) * 64
    photo = decoded(png(64, 64, 16, 2, rows, chunk(b"tRNS", struct.pack(">3H", 65535, 1, 2))))
    assert photo.picture[0, :2].tolist() == [[255, 0, 0, 0], [117, 156, 195, 255]]


PALETTE = np.array([[10, 20, 30], [200, 100, 50], [0, 255, 0], [90, 90, 90]], np.uint8)


def paletted() -> Image.Image:
    image = Image.fromarray(np.tile(np.arange(4, dtype=np.uint8), (64, 16)), "P")
    image.putpalette(PALETTE.tobytes())
    return image


def test_a_palette_becomes_its_colours() -> None:
    photo = decoded(saved(paletted()))
    assert np.array_equal(photo.picture[0, :4], PALETTE)
    assert photo.picture.shape == (64, 64, 3)


def test_a_palettes_transparency_becomes_alpha_for_each_entry(recwarn: pytest.WarningsRecorder) -> None:
    photo = decoded(saved(paletted(), transparency=bytes([255, 128, 0, 7])))
    assert np.array_equal(photo.picture[0, :4], np.column_stack([PALETTE, [255, 128, 0, 7]]))
    assert photo.warnings == ()
    assert not recwarn.list
    one = decoded(saved(paletted(), transparency=2))
    assert one.picture[0, :4, 3].tolist() == [255, 255, 0, 255]


def test_a_palette_goes_through_its_profile() -> None:
    photo = decoded(saved(paletted(), icc_profile=rgb_profile(P3_TO_XYZ, curve(2.2))))
    expected = as_srgb((PALETTE / 255) ** 2.2 @ P3_TO_XYZ.T @ np.linalg.inv(SRGB_TO_XYZ).T)
    assert np.abs(photo.picture[0, :4] - expected).max() <= 2


def test_grey_with_alpha_keeps_the_grey_under_full_transparency() -> None:
    picture = np.dstack([RAMP, RAMP[:, ::-1]])
    photo = decoded(saved(Image.fromarray(picture, "LA")))
    assert np.array_equal(photo.picture, np.dstack([RAMP, RAMP, RAMP, RAMP[:, ::-1]]))


def test_a_transparent_grey_or_colour_becomes_alpha() -> None:
    photo = decoded(saved(RAMP, transparency=5))
    assert photo.picture[0, 4:7].tolist() == [[4, 4, 4, 255], [5, 5, 5, 0], [6, 6, 6, 255]]
    photo = decoded(saved(textured(), transparency=(0, 0x30, 0x18)))  # row 0, column 24
    assert photo.picture[0, 24].tolist() == [0, 48, 24, 0]
    assert photo.picture[0, 25, 3] == 255


@pytest.mark.parametrize("options", [{}, {"transparency": 0}])
def test_one_bit_is_black_and_white(options: dict[str, int]) -> None:
    bits = np.tile(np.arange(64) % 3 == 0, (64, 1))
    photo = decoded(saved(Image.fromarray(bits), **options))
    assert np.array_equal(photo.picture[:, :, 0], np.where(bits, 255, 0))
    if options:
        assert np.array_equal(photo.picture[:, :, 3], np.where(bits, 255, 0))


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_alpha_stays_where_any_pixel_is_not_opaque_and_only_there(kind: str) -> None:
    picture = np.dstack([textured(), np.full((80, 112), 255, np.uint8)])
    assert decoded(saved(picture, kind, lossless=True)).picture.shape == (80, 112, 3)
    picture[40, 50, 3] = 254
    photo = decoded(saved(picture, kind, lossless=True, exact=True))
    assert np.array_equal(photo.picture, picture)


def test_colours_under_full_transparency_are_kept() -> None:
    picture = np.dstack([textured(), np.zeros((80, 112), np.uint8)])
    assert np.array_equal(decoded(saved(picture)).picture, picture)


# --- animation, names, metadata -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_of_an_animation_the_first_frame_is_taken_and_said(kind: str) -> None:
    frames = [Image.fromarray(np.full((64, 64, 3), level, np.uint8)) for level in (40, 120, 200)]
    photo = decoded(saved(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True))
    assert (photo.picture == 40).all()
    assert photo.warnings == ("it has 3 frames; the first was taken",)


def test_of_a_camera_file_with_several_pictures_the_first_is_taken() -> None:
    frames = [Image.fromarray(np.full((64, 64, 3), level, np.uint8)) for level in (40, 200)]
    photo = decoded(saved(frames[0], "MPO", save_all=True, append_images=frames[1:]), "left-eye.jpg")
    assert np.abs(photo.picture.astype(int) - 40).max() <= 1
    assert photo.format == "JPEG"
    assert photo.warnings == ("it has 2 frames; the first was taken",)


@pytest.mark.parametrize(("kind", "name", "warnings"), [
    ("JPEG", "mug.jpg", ()), ("JPEG", "folder.png/mug.JPEG", ()), ("PNG", "mug", ()), ("PNG", "mug.bak", ()),
    ("JPEG", "s3://shop/mug.png", ("its name ends in .png, and it is a JPEG",)),
    ("WEBP", "mug.jpg", ("its name ends in .jpg, and it is a WEBP",))])
def test_content_decides_and_a_wrong_ending_is_only_said(kind: str, name: str, warnings: tuple[str, ...]) -> None:
    photo = decoded(saved(textured(), kind), name)
    assert (photo.format, photo.warnings) == (kind, warnings)


@pytest.mark.parametrize("kind", ["JPEG", "progressive JPEG", "PNG", "WEBP"])
def test_what_hangs_behind_the_picture_is_ignored_and_said_where_it_is_large(kind: str) -> None:
    data = saved(textured(), kind.split()[-1], progressive=kind.startswith("prog"))
    little, much = decoded(data + b"PK\3\4 a payload" * 1000), decoded(data + b"\xff\xd9IEND" * 200_000)
    assert np.array_equal(little.picture, decoded(data).picture)
    assert np.array_equal(much.picture, decoded(data).picture)
    assert little.warnings == ()
    assert much.warnings == ("1,200,000 bytes behind the picture were left aside",)


def test_what_a_large_photo_is_made_of_is_not_called_a_tail() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (1200, 1200, 3), dtype=np.uint8)
    for kind in ("JPEG", "PNG", "WEBP"):
        data = saved(noise, kind, quality=95, lossless=True)
        assert len(data) > 1_000_000
        assert decoded(data).warnings == ()


def test_a_files_own_words_are_not_told_and_its_many_faults_are_told_briefly() -> None:
    """An orientation that is a text of 9 kB; then 3,000 tags, each with a complaint of its own."""
    exif = b"Exif\0\0II*\0" + struct.pack("<IHHHII", 8, 1, 0x0112, 2, 9000, 26) + bytes(4) + b"seller's text " * 700
    photo = decoded(saved(textured(), "JPEG", exif=exif))
    assert photo.warnings == ("its EXIF orientation is no number, which means nothing: taken as upright",)
    notes = _brief([f"fault\n{number}" + "!" * 999 for number in range(3000)])
    assert len(notes) == 13
    assert notes[-1] == "and 2,988 more notes"
    assert notes[0].startswith("fault\\n0!!!")
    assert all(note.isprintable() and len(note) <= 160 for note in notes)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK"])
def test_a_photo_of_many_bands_is_the_photo_of_one(
        mode: str, orientation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = Image.fromarray(np.dstack([textured(), textured()[:, :, 1]])).convert(mode)
    options = {"icc_profile": grey_profile(1.0)} if mode == "L" else {}
    data = saved(picture, "JPEG" if mode == "CMYK" else "PNG", exif=orientation_tag(orientation), **options)
    whole = decoded(data)
    monkeypatch.setattr(photos, "_BAND_PIXELS", 112 * 7)
    banded = decoded(data)
    assert np.array_equal(banded.picture, whole.picture)
    assert banded.warnings == whole.warnings


def test_photos_are_decoded_from_many_threads() -> None:
    import warnings

    filters = list(warnings.filters)
    data = [saved(np.full((64, 64, 3), level, np.uint8), exif=orientation_tag(9)) for level in range(24)]
    with ThreadPoolExecutor(6) as pool:
        photos = list(pool.map(decoded, data))
    assert [int(photo.picture[0, 0, 0]) for photo in photos] == list(range(24))
    assert all(len(photo.warnings) == 1 for photo in photos)
    assert list(warnings.filters) == filters
