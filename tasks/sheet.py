"""The contact sheet: one row a job, one captioned picture a step, so that people can look instead of read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from models.errors import InputError
from models.pictures import Picture, decode_png
from tasks.profiles import notice
from tasks.services import Services

CELL = (224, 168)  # width, height of a picture's frame
ALONE = 6          # pictures in a line of a sheet of one job
CAPTION, GAP, MARGIN, HEADER = 34, 10, 20, 62
PAPER, INK, FAINT, WARNING = (250, 250, 248), (30, 30, 34), (120, 120, 126), (170, 60, 20)
TITLES = {
    "photo": "source", "cut_out": "cut-out", "place": "placed", "outpaint": "outpaint map", "lines": "lines",
    "first_depth": "depth, first", "first": "first pass", "second_depth": "depth", "second": "second pass",
    "relight": "relit by IC-Light", "mix": "light mixed in", "placed_large": "placed, 4x", "upscale": "upscaled 4x",
}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One picture of a row; picture None where the pass was skipped."""

    title: str
    note: str
    picture: Picture | None


def contact_sheet(here: Services, job_ids: Sequence[str], out: Path) -> None:
    """Write the sheet of these jobs, a row a job, to `out` as PNG. Raises JobNotFound for an unknown id."""
    rows = _without_empty_columns([(job_id, cells(here, job_id)) for job_id in job_ids])
    warnings = {notice(here.lineage.job(job_id).profile) for job_id in job_ids} - {""}
    if len(rows) == 1:  # one job reads better in lines than in one long row; several compare column by column
        [(job_id, row)] = rows
        starts = range(0, len(row), ALONE) or (0,)
        rows = [(job_id if start == 0 else "", row[start:start + ALONE]) for start in starts]
    sheet = draw_sheet(rows, " ".join(sorted(warnings)))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(out, "PNG")
    except OSError as error:
        raise InputError(f"cannot be written ({error.strerror})", field="--out", value=str(out),
                         remedy="Name a file in a folder that can be written") from error


def cells(here: Services, job_id: str) -> list[Cell]:
    """The job's source photo, what each of its passes made, in order, and what was delivered."""
    passes = here.lineage.passes(job_id)
    photos = [digest for row in passes for role, digest in row.inputs.items() if role == "photo"]
    found = [Cell(title=TITLES["photo"], note="as ingested", picture=_picture(here, photos[0]))] if photos else []
    for row in passes:
        title = TITLES.get(row.at, row.at)
        if row.disposition == "skipped":
            found.append(Cell(title=title, note=row.reason, picture=None))
        else:
            calls = f", {row.model_calls} call{'s' * (row.model_calls > 1)}" if row.model_calls else ""
            found.extend(Cell(title=title, note=f"{row.disposition}{calls}", picture=_picture(here, artifact.digest))
                         for artifact in row.outputs.values())
    found.extend(Cell(title="final", note=f"{artifact.width} x {artifact.height}",
                      picture=_picture(here, artifact.digest))
                 for role, artifact, _ in here.lineage.outputs(job_id) if role == "final")
    return found


def _without_empty_columns(rows: Sequence[tuple[str, list[Cell]]]) -> list[tuple[str, list[Cell]]]:
    """The rows without the steps that every job skipped; as they are where jobs have different steps."""
    if len({tuple(cell.title for cell in row) for _, row in rows}) != 1:
        return list(rows)
    kept = [column for column in range(len(rows[0][1])) if any(row[column].picture is not None for _, row in rows)]
    return [(job_id, [row[column] for column in kept]) for job_id, row in rows]


def _picture(here: Services, digest: str) -> Picture:
    return decode_png(here.store.get(digest))


def draw_sheet(rows: Sequence[tuple[str, Sequence[Cell]]], warning: str) -> Image.Image:
    """The rows below one another, under a header that carries the warning (tiny weights are called tiny)."""
    columns = max((len(row) for _, row in rows), default=1)
    row_height = 26 + CELL[1] + CAPTION + GAP
    texts = max((_font(size).getlength(text) for text, size in ((warning, 13), *((job_id, 14) for job_id, _ in rows))))
    width = 2 * MARGIN + max(columns * (CELL[0] + GAP) - GAP, ceil(texts))
    sheet = Image.new("RGB", (width, HEADER + MARGIN + len(rows) * row_height), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, 14), "Backlot contact sheet", fill=INK, font=_font(18))
    draw.text((MARGIN, 38), warning, fill=WARNING, font=_font(13))
    for index, (job_id, row) in enumerate(rows):
        top = HEADER + index * row_height
        draw.text((MARGIN, top), job_id, fill=INK, font=_font(14))
        for column, cell in enumerate(row):
            _draw_cell(sheet, draw, MARGIN + column * (CELL[0] + GAP), top + 26, cell)
    return sheet


def _draw_cell(sheet: Image.Image, draw: ImageDraw.ImageDraw, left: int, top: int, cell: Cell) -> None:
    frame = (left, top, left + CELL[0] - 1, top + CELL[1] - 1)
    draw.rectangle(frame, fill=(238, 238, 236))
    if cell.picture is None:
        draw.text((left + 8, top + CELL[1] // 2 - 8), "skipped", fill=FAINT, font=_font(13))
    else:
        thumbnail = _thumbnail(cell.picture)
        sheet.paste(thumbnail, (left + (CELL[0] - thumbnail.width) // 2, top + (CELL[1] - thumbnail.height) // 2))
    draw.text((left, top + CELL[1] + 3), cell.title, fill=INK, font=_font(13))
    draw.text((left, top + CELL[1] + 18), _clip(cell.note, 36), fill=FAINT, font=_font(11))


def _thumbnail(picture: Picture) -> Image.Image:
    """The picture fitted into a cell; transparency over a checkerboard."""
    height, width = picture.shape[:2]
    scale = min(CELL[0] / width, CELL[1] / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = Image.fromarray(np.asarray(picture)).resize(size, Image.Resampling.LANCZOS)
    if small.mode != "RGBA":
        return small
    squares = np.add.outer(np.arange(size[1]) // 8, np.arange(size[0]) // 8)
    board = np.where(squares[..., None] % 2, 255, 214).astype(np.uint8).repeat(3, axis=2)
    ground = Image.fromarray(board)
    ground.paste(small, mask=small.getchannel("A"))
    return ground


def _clip(text: str, most: int) -> str:
    return text if len(text) <= most else text[:most - 1] + "…"


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
