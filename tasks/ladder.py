"""What is tried when the memory is too small for a pass: one rung lower each time, within the same attempt.

    fewer pictures at once -> idle models leave -> the VAE works in tiles -> weights are offloaded -> one clear error

docs/decisions/0014 says why in this order. What it took is remembered for passes of the same kind and size or larger,
for a while: the next picture does not fail its way down again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar

from models.errors import MemoryExhausted
from models.sparing import Spare
from models.tiling import LARGEST_TILE, tile_for
from tasks.classify import classify

Result = TypeVar("Result")

REMEMBERED_SECONDS = 600.0
"""How long what it took is taken for needed still. The memory may have been short because of a neighbour; trying anew
costs a few failed starts in ten minutes."""


class Rung(IntEnum):
    """How far down; each includes those before it. A batch is made smaller before any but the first."""

    FREELY = 0
    ALONE = 1
    TILED = 2
    OFFLOADED = 3


WITH_VAE = frozenset({"sdxl", "iclight"})
"""Kinds of models (models.profiles) that bring one."""

WHOLE = frozenset({"matting"})
"""Kinds that lie where their session was made, as long as it lives."""

TRIED: Mapping[Rung, str] = {
    Rung.FREELY: "one picture at a time", Rung.ALONE: "without idle models in memory", Rung.TILED: "the VAE in tiles",
    Rung.OFFLOADED: "the weights offloaded to the CPU"}

NOTES: Mapping[Rung, str] = {
    Rung.ALONE: "out of memory: idle models left it first; the picture is the same",
    Rung.TILED: f"out of memory: the VAE worked in tiles of at most {LARGEST_TILE} px; tones may differ slightly from "
                "the picture made whole",
    Rung.OFFLOADED: "out of memory: weights were brought to the GPU block by block and the VAE worked in tiles; slow, "
                    "and tones may differ slightly from the picture made whole"}
"""What a user is told of the lowest rung that was taken; kept with the job's pass."""


def note_of_halving(batch: int) -> str:
    return f"out of memory with {batch} pictures at once: fewer were computed at a time; the pictures are the same"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Passes of one kind and size. pass_name and weights, their digests, are the kind; width, height: of the largest
    picture that goes in."""

    pass_name: str
    weights: Hashable
    width: int
    height: int

    @property
    def kind(self) -> Hashable:
        return self.pass_name, self.weights

    @property
    def pixels(self) -> int:
        return self.width * self.height


@dataclass(frozen=True, kw_only=True)
class _Needed:
    most: int
    rung: Rung
    until: float


class Ladder:
    """One for each process's device. clock: seconds that only grow."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._needed: dict[Place, _Needed] = {}

    def most(self, place: Place) -> int | None:
        """Pictures at once that were not too many for this kind at this size or a smaller one. None: no limit known."""
        return min((needed.most for needed in self._known(place)), default=None)

    def rung(self, place: Place) -> Rung:
        """Where to begin."""
        return max((needed.rung for needed in self._known(place)), default=Rung.FREELY)

    def too_many(self, place: Place, batch: int) -> None:
        """So many pictures at once did not fit."""
        self._remember(place, most=(batch + 1) // 2, rung=Rung.FREELY)

    def descend(self, place: Place, rungs: Sequence[Rung], compute: Callable[[Rung], Result],
                taken: Callable[[Rung], None]) -> Result:
        """compute(rung) for one rung after the other until the memory suffices; taken(rung) before each but FREELY.

        Raises MemoryExhausted after the last, naming what was tried, and whatever else compute raises. The next try
        begins when the error is gone: its traceback holds the frames of the failed one, and they its tensors.
        """
        first = self.rung(place)
        told = ""
        for rung in [one for one in rungs if one >= first] or rungs[-1:]:
            if rung:
                taken(rung)
            try:
                result = compute(rung)
            except Exception as error:
                if not out_of_memory(error):
                    raise
                told = f"{type(error).__name__}: {str(error).partition('.')[0]:.120}"
            else:
                if rung:
                    self._remember(place, most=1, rung=rung)
                return result
        raise exhausted(place, rungs, told)

    def _remember(self, place: Place, *, most: int, rung: Rung) -> None:
        self._needed[place] = _Needed(most=most, rung=rung, until=self._clock() + REMEMBERED_SECONDS)

    def _known(self, place: Place) -> list[_Needed]:
        """What this kind needed, lately, at this size or a smaller one."""
        now = self._clock()
        self._needed = {known: needed for known, needed in self._needed.items() if needed.until > now}
        return [needed for known, needed in self._needed.items() if known.kind == place.kind
                and known.pixels <= place.pixels]


def out_of_memory(error: BaseException) -> bool:
    return classify(error).kind == "out_of_memory"


def rungs_for(place: Place, kinds: Collection[str], *, offloads: bool) -> tuple[Rung, ...]:
    """The rungs that could help a pass whose models are of these kinds: one without a VAE has nothing to tile, on a CPU
    there is nothing to offload to, and onnxruntime's networks do not come in blocks."""
    can = {Rung.FREELY: True, Rung.ALONE: True,
           Rung.TILED: bool(WITH_VAE.intersection(kinds)) and spare_on(Rung.TILED, place).tile is not None,
           Rung.OFFLOADED: offloads and not WHOLE.issuperset(kinds)}
    return tuple(rung for rung in Rung if can[rung])


def spare_on(rung: Rung, place: Place) -> Spare:
    """What a lease asks for on this rung."""
    return Spare(tile=tile_for(max(place.width, place.height)) if rung >= Rung.TILED else None,
                 offload=rung >= Rung.OFFLOADED)


def exhausted(place: Place, rungs: Sequence[Rung], told: str) -> MemoryExhausted:
    return MemoryExhausted(
        f"the memory does not suffice for the pass {place.pass_name} ({told}); tried: "
        f"{', '.join(TRIED[rung] for rung in rungs)}", field="width x height", value=f"{place.width} x {place.height}",
        remedy=f"{_remedy(place)}, or a {'GPU' if place.weights else 'machine'} with more memory")


def _remedy(place: Place) -> str:
    if place.pass_name == "cut_out":  # it reads the photo, whose size no document changes; its network has one size
        return "Use BACKLOT_MATTING=classical" if place.weights else "Use a smaller photo"
    union = ", the profile sdxl-union (one ControlNet for three)" if place.pass_name == "sdxl" else ""
    return f"Use a smaller width or height{union}"
