"""What a hostile file is: a name, its bytes, the verdicts it may get."""

from __future__ import annotations

from dataclasses import dataclass

ACCEPTED = "accepted"
"""The verdict of a file that is decoded; the others are models.photos.VERDICTS."""

NAMED = frozenset({"unsupported_format"})
NO_PHOTO = frozenset({"unsupported_format", "unrecognised"})


@dataclass(frozen=True, kw_only=True)
class Hostile:
    name: str
    data: bytes
    may: frozenset[str]


def accepted(name: str, data: bytes) -> Hostile:
    return Hostile(name=name, data=data, may=frozenset({ACCEPTED}))


def refused(name: str, data: bytes, *codes: str) -> Hostile:
    return Hostile(name=name, data=data, may=frozenset(codes))
