"""Whatever a photo's pixels are (grey, palette, 16 bits, CMYK, a phone's wide gamut), as 8-bit sRGB."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

MAX_PROFILE_BYTES = 1_000_000
"""Larger colour profiles are not parsed (spec/reliability.md 5.2); real ones of cameras and phones are under 1 kB to
600 kB."""

PROFILE_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
"""Pillow mode -> the colour space that a profile must be for (ICC.1:2022, table 19)."""

PRECISION = {"L": ImageCms.Flags.NOOPTIMIZE, "RGB": ImageCms.Flags(0), "CMYK": ImageCms.Flags.HIGHRESPRECALC}
"""LittleCMS samples a profile coarsely to be fast. Against its exact way (4 MP, one core, Pillow 13.0.0 with lcms 2.19,
2026-11-21): RGB is off by at most 1 of 255 and 11 times faster; CMYK by 6, or 4 with the finer table, 5 times faster;
grey by 10 in the shadows, so its 256 values are looked up exactly."""


def to_srgb(opened: Image.Image, notes: list[str], *, managed: bool = True) -> Callable[[Image.Image], Image.Image]:
    """How the loaded picture's parts become mode RGB, or RGBA where the file has transparency (straight alpha).

    What is returned takes any crop of `opened`: each pixel is converted by itself, so a large photo can go band by band
    and needs no second and third copy of itself. What a user should be told of it is added to `notes`, once.

    With a usable ICC profile: relative colorimetric with black point compensation. Without one: RGB and grey are taken
    as sRGB; CMYK by (1 - C)(1 - K), a plain default that no press shares. Not `managed`, a profile is left aside in
    silence: the numbers are no colours, and stay what they are.
    """
    mode = _eight_bits(opened.crop((0, 0, 1, 1))).mode
    convert = _by_profile(mode, opened.info.get("icc_profile") if managed else None, notes)
    if convert is None and mode == "CMYK":
        notes.append("it is CMYK without a usable colour profile: its colours are approximate")
    if mode == "CMYK" and "adobe" not in opened.info:
        notes.append("it is CMYK without Adobe's marker: read as inverted, as Adobe writes it")

    def converted(part: Image.Image) -> Image.Image:
        colour = _eight_bits(part)
        done = colour.convert("RGB") if convert is None else convert(colour)
        if (alpha := alpha_of(part)) is not None:
            done.putalpha(alpha)
        return done

    return converted


def alpha_of(opened: Image.Image) -> Image.Image | None:
    """Its transparency as mode L, from an alpha channel, a palette or a transparent colour; None where it has none."""
    key = opened.info.get("transparency")
    if opened.mode == "I;16" and key is not None:
        return Image.fromarray(np.where(np.asarray(opened) == key, np.uint8(0), np.uint8(255)))
    if opened.mode == "RGB" and key is not None and max(key) > 255:
        # 16-bit RGB, of which Pillow kept the high bytes but not those of the transparent colour
        matches = (np.asarray(opened) == np.array(key) >> 8).all(axis=2)
        return Image.fromarray(np.where(matches, np.uint8(0), np.uint8(255)))
    return opened.convert("RGBA").getchannel("A") if opened.has_transparency_data else None


def _eight_bits(opened: Image.Image) -> Image.Image:
    """The colours as mode L, RGB or CMYK, alpha left aside and colours under it kept.

    16-bit grey is scaled by 257 here, since Pillow would clip it. Pillow reduces 16-bit RGB itself, to the high byte.
    """
    if opened.mode == "I;16":
        wide = np.asarray(opened).astype(np.uint32)
        return Image.fromarray(((wide + 128) // 257).astype(np.uint8))
    if opened.mode in ("1", "L", "LA"):
        return opened.convert("L")
    if opened.mode in ("RGB", "CMYK"):
        return opened
    return opened.convert("RGBA").convert("RGB")  # by way of RGBA: a palette's alpha would raise a warning


def _by_profile(mode: str, profile: bytes | None, notes: list[str]) -> Callable[[Image.Image], Image.Image] | None:
    """How colours of `mode` go through the embedded profile to sRGB, or None where there is no usable one."""
    if not profile:
        return None
    if len(profile) > MAX_PROFILE_BYTES:
        notes.append(f"its colour profile has {len(profile):,} bytes and was left aside: taken as sRGB")
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = source.profile.xcolor_space.strip()
        if space != PROFILE_SPACES[mode]:
            notes.append(f"its colour profile is for {space}, and it is {mode}: taken as sRGB")
            return None
        transform = ImageCms.buildTransform(
            source, ImageCms.createProfile("sRGB"), mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION | PRECISION[mode])
        if mode == "L":
            greys = _all_greys(transform)
            return lambda part: Image.fromarray(greys[np.asarray(part)])
        return None if _changes_nothing(transform, mode) else transform.apply
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        notes.append(f"its colour profile cannot be read ({error}): taken as sRGB")
        return None


def _all_greys(transform: ImageCms.ImageCmsTransform) -> NDArray[np.uint8]:
    """What each grey 0..255 becomes: uint8 (256, 3)."""
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    return np.asarray(transform.apply(ramp), dtype=np.uint8).reshape(256, 3)


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Is it sRGB to sRGB, but for rounding? Then the file's own bytes are better than a round trip's.

    Asked of a grid of colours, because names of profiles prove nothing.
    """
    if mode != "RGB":
        return False
    steps = np.linspace(0, 255, 17).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(17, 17 * 17, 3)
    through = np.asarray(transform.apply(Image.fromarray(grid)))
    return bool(np.abs(through.astype(int) - grid).max() <= 1)
