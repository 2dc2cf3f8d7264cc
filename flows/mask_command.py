"""`backlot mask`: where the matte of a photo is wrong, a person says what the product is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from flows.tables import plain, table
from storage.errors import MaskNotFound
from storage.masks import MaskRow
from tasks.services import services

app = typer.Typer(no_args_is_help=True, help="Say by hand what the product of a photo is.")

Photo = Annotated[str, typer.Argument(metavar="PHOTO", help="A path, a uri, or the digest of a photo a job has read")]


@app.command("set")
def set_mask(photo: Photo,
             mask: Annotated[Path, typer.Argument(metavar="MASK.png", help="Grey, white where the product is, or with "
                                                  "alpha; 8 or 16 bits")],
             note: Annotated[str, typer.Option(help="Why, for whoever looks later")] = "") -> None:
    """Make a mask the next version of this photo's: every job of the photo uses it from now on."""
    from tasks import masks  # loads Prefect

    row, notes = masks.set_mask(services(), photo, mask, note)
    typer.echo(f"version {row.version} of the mask of photo {row.photo_digest[:12]} is {row.mask.digest[:12]}")
    for text in notes:
        typer.echo(f"  note: {text}")


@app.command("list")
def list_masks(photo: Annotated[str | None, typer.Argument(metavar="[PHOTO]", help="Only of this photo")] = None,
               as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead")] = False) -> None:
    """List every version of every mask, newest first of each photo."""
    from tasks import masks

    rows = masks.masks(services(), photo)
    if as_json:
        typer.echo(json.dumps({"masks": _facts(rows)}, indent=2))
        return
    if not rows:
        typer.echo("No masks.")
        return
    listed = table("photo", "version", "mask", "set", "", "note")
    for fact in _facts(rows):
        listed.add_row(*plain(
            fact["photo"][:12], fact["version"], fact["mask"][:12], fact["created_at"], fact["state"], fact["note"]))
    Console(width=None if Console().is_terminal else 160).print(listed)


@app.command("remove")
def remove(photo: Photo) -> None:
    """Let the photo be matted again. Its masks are kept: nothing that was made with one loses its lineage."""
    from tasks import masks

    row = masks.remove_mask(services(), photo)
    typer.echo(f"photo {row.photo_digest[:12]} is matted; version {row.version} of its mask is kept")


@app.command("show")
def show(photo: Photo, out: Annotated[Path, typer.Argument(metavar="OUT.png", help="Where to write it")]) -> None:
    """Write the mask that counts for this photo, as a grey PNG."""
    from tasks import masks

    row = masks.save_mask(services(), photo, out)
    if row is None:
        raise MaskNotFound(photo, "has no mask")
    typer.echo(f"{out}: version {row.version}")


def _facts(rows: Sequence[MaskRow]) -> list[dict[str, Any]]:
    """state: counts, removed, or replaced by a later version."""
    newest: dict[str, int] = {}
    for row in rows:
        newest[row.photo_digest] = max(row.version, newest.get(row.photo_digest, 0))
    return [{"photo": row.photo_digest, "version": row.version, "mask": row.mask.digest, "note": row.note,
             "created_at": f"{datetime.fromtimestamp(row.created_at, UTC):%Y-%m-%d %H:%M:%S}",
             "state": "removed" if row.removed_at is not None else
             "counts" if row.version == newest[row.photo_digest] else "replaced"} for row in rows]
