"""Pictures of a replay that differ, written for people to look at: recorded, replayed, and where they are apart."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import ceil
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from models.difference import Difference, stretched
from models.errors import InputError
from models.pictures import Picture, encode_png, with_png_text
from storage.records import Job
from tasks.profiles import notice
from tasks.replay import Replayed

INK, PAPER, WARNING = (30, 30, 34), (250, 250, 248), (170, 60, 20)
MARGIN, LINE = 12, 20
SMALL = 384
"""Pixels: pictures whose longer side is below are enlarged by a whole factor, so that one pixel can be seen."""


def empty_folder(folder: Path) -> None:
    """Make `folder` unless it is there. Raises InputError, before anything is computed, where it holds something or
    cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = next(folder.iterdir(), None)
    except OSError as error:
        raise InputError(f"cannot be made or read ({error.strerror})", field="--keep", value=str(folder),
                         remedy="Name a folder that can be written") from error
    if held is not None:
        raise InputError(f"is not empty (it holds {held.name})", field="--keep", value=str(folder),
                         remedy="Name a new folder: nothing is overwritten")


def keep(folder: Path, job: Job, one: Replayed) -> list[Path]:
    """Write what differs to <folder>/<place>/recorded.png, replayed.png and difference.png; what was written.

    recorded.png is left out where its bytes are lost, difference.png also where the shapes are not the same.
    """
    if one.pictures is None:
        return []
    recorded, replayed = one.pictures.recorded, one.pictures.replayed
    at = one.place.at
    stamp = {"backlot:job_id": job.job_id, "backlot:role": at, "backlot:profile": job.profile}
    if warning := notice(job.profile):
        stamp["backlot:notice"] = warning
    files = {"replayed.png": _png(replayed, stamp)}
    if recorded is not None:
        files["recorded.png"] = _png(recorded, stamp)
        if one.difference is not None:
            drawn = draw_difference(recorded, replayed, one.difference, f"{at} of {job.job_id}", warning)
            files["difference.png"] = _png(np.asarray(drawn), stamp)
    below = folder / (re.sub(r"[^A-Za-z0-9_-]", "_", at) or "_")
    try:
        below.mkdir()
        for name, data in files.items():
            with (below / name).open("xb") as opened:
                opened.write(data)
    except OSError as error:
        raise InputError(f"cannot be written ({error.strerror})", field="--keep", value=str(below),
                         remedy="Name a folder that can be written and has room") from error
    return [below / name for name in sorted(files)]


def _png(picture: Picture, stamp: Mapping[str, str]) -> bytes:
    return with_png_text(encode_png(picture), stamp)


def draw_difference(recorded: Picture, replayed: Picture, apart: Difference, title: str, warning: str) -> Image.Image:
    """The stretched difference under a few lines that say what it shows; tiny weights are called tiny."""
    levels = "white: 1" if apart.most == 1 else f"dark grey to white: 1 to {apart.most}"
    lines = [(f"{title}: recorded against replayed", INK),
             (f"black: equal; {levels} of 255 levels apart", INK),
             (f"largest at ({apart.x}, {apart.y}), mean {apart.mean:.4f}, {apart.share:.2%} of the pixels", INK)]
    if warning:
        lines.append((warning, WARNING))
    picture = stretched(recorded, replayed)
    factor = max(1, SMALL // max(picture.shape[:2]))
    shown = Image.fromarray(picture.repeat(factor, axis=0).repeat(factor, axis=1))
    font = ImageFont.load_default(13)
    width = max(shown.width, *(ceil(font.getlength(text)) for text, _ in lines)) + 2 * MARGIN
    top = MARGIN + LINE * len(lines)
    sheet = Image.new("RGB", (width, top + shown.height + 2 * MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, (text, colour) in enumerate(lines):
        draw.text((MARGIN, MARGIN + LINE * number), text, fill=colour, font=font)
    sheet.paste(shown, (MARGIN, top + MARGIN))
    return sheet
