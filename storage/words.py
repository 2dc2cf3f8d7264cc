"""Text that both databases can hold: all but NUL, which PostgreSQL refuses, and halves of surrogate pairs, which no
UTF-8 has. They come from file names and from messages of other programs.

Text by which things are found and compared is refused with them; text that is only told has them replaced. JSON columns
keep both as escapes.
"""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Dialect, Text, TypeDecorator
from sqlalchemy.exc import DontWrapMixin

from storage.errors import StorageError

_UNHEARD_OF = re.compile("[\x00\ud800-\udfff]")
REPLACEMENT = "\ufffd"


class NotText(StorageError, DontWrapMixin):  # DontWrapMixin: SQLAlchemy would make it a StatementError
    """A text to be stored, or looked for, holds what databases cannot."""

    def __init__(self, column: str, value: str) -> None:
        super().__init__("holds a NUL or half a surrogate pair, which databases cannot keep", field=column,
                         value=told(value), remedy="Leave it out")


class Words(TypeDecorator[str]):
    """A TEXT column of this name. Raises NotText."""

    impl = Text
    cache_ok = True

    def __init__(self, column: str) -> None:
        super().__init__()
        self.column = column

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is not None and _UNHEARD_OF.search(value):
            raise NotText(self.column, value)
        return value

    def coerce_compared_value(self, op: Any, value: Any) -> Any:
        return self  # a text it is compared with is held to the same


def told(text: str) -> str:
    """The text with U+FFFD for each character that cannot be stored."""
    return _UNHEARD_OF.sub(REPLACEMENT, text)
