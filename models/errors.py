"""Errors a pass raises: each names the field, the value that was received and what to do about it."""

from __future__ import annotations

from typing import Any


class PassError(Exception):
    """A pass could not do what was asked. `str()` is one line: field, value, remedy.

    field: the document field or role at fault; value: what was received, printable; remedy: what to try.
    """

    def __init__(self, message: str, *, field: str, value: object, remedy: str) -> None:
        super().__init__(f"{field}={value!r}: {message}. {remedy}")
        self.field = field
        self.value = value
        self.remedy = remedy

    def __reduce__(self) -> tuple[Any, ...]:
        # The constructors take other arguments than `args` holds, so the default would not unpickle; and Prefect and
        # process pools do pickle exceptions.
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[PassError], args: tuple[Any, ...], attributes: dict[str, Any]) -> PassError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(attributes)
    return error


class InputError(PassError):
    """The input itself is at fault (a broken file, no subject): trying again cannot help."""


class PhotoRefused(InputError):
    """A photo's verdict. code: one word of models.photos.VERDICTS, for counting and for filters; field is "image".

    message: what is wrong, without the name and the remedy.
    """

    def __init__(self, code: str, message: str, *, name: str, remedy: str) -> None:
        super().__init__(message, field="image", value=name, remedy=remedy)
        self.code = code
        self.message = message


class WeightsError(PassError):
    """A model's files are missing, unreadable or not what their digest says."""


class MemoryExhausted(PassError):
    """A pass found too little memory, whatever was tried; field is "width x height"."""
