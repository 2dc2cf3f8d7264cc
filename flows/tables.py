"""Tables and values as commands print them."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

LONGEST = 60
"""Characters of a value that are shown; prompts are longer, digests are cut to 12."""


def table(*columns: str, title: str | None = None) -> Table:
    """Without lines; what does not fit is folded and never cut."""
    made = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="dim")
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def plain(*cells: object) -> tuple[Text, ...]:
    """Cells of user text: what looks like markup is printed as it stands."""
    return tuple(Text(str(cell)) for cell in cells)


def short(value: Any) -> str:
    text = "none" if value is None or value == [] else str(value)
    if len(text) == 64 and all(letter in "0123456789abcdef" for letter in text):
        return text[:12]
    return text if len(text) <= LONGEST else f"{text[:LONGEST - 1]}…"
