"""Over 900 files that a decoder may meet and did not ask for, made anew each time, each with the verdicts it may get.

The classes are those of spec/reliability.md 5.2. Deterministic; one file at a time, so that the set needs no disk and
little memory (it is about 90 MB in all).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from hostile_bombs import animated, bombs, dimensions, metadata
from hostile_case import Hostile
from hostile_damage import bit_flips, truncations
from hostile_others import empties, foreign, not_pictures, polyglots, svg
from hostile_photos import orientations, plain, valid, wrong_endings

CLASSES = {
    "valid": valid, "orientations": orientations, "foreign": foreign, "truncations": truncations,
    "bit_flips": bit_flips, "bombs": bombs, "animated": animated, "wrong_endings": wrong_endings,
    "not_pictures": not_pictures, "svg": svg, "empties": empties, "polyglots": polyglots, "metadata": metadata,
    "dimensions": dimensions, "plain": plain}


def hostile_files() -> Iterator[Hostile]:
    return chain.from_iterable(make() for make in CLASSES.values())
