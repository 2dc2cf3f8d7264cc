"""Errors a pass raises: each names the field, the value that was received and what to do about it."""

from __future__ import annotations


class PassError(Exception):
    """A pass could not do what was asked. `str()` is one line: field, value, remedy.

    field: the document field or role at fault; value: what was received, printable; remedy: what to try.
    """

    def __init__(self, message: str, *, field: str, value: object, remedy: str) -> None:
        super().__init__(f"{field}={value!r}: {message}. {remedy}")
        self.field = field
        self.value = value
        self.remedy = remedy


class InputError(PassError):
    """The input itself is at fault (a broken file, no subject): trying again cannot help."""


class PhotoRefused(InputError):
    """A photo's verdict. code: one word of models.photos.VERDICTS, for counting and for filters; field is "image"."""

    def __init__(self, code: str, message: str, *, name: str, remedy: str) -> None:
        super().__init__(message, field="image", value=name, remedy=remedy)
        self.code = code


class WeightsError(PassError):
    """A model's files are missing, unreadable or not what their digest says."""
