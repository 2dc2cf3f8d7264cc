"""May these weights be used in a business? What the licences of the table allow, and the refusal where one does not."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from models.errors import WeightsError
from models.profiles import CommercialUse, WeightFile

RESTRICTIONS: Mapping[str, str] = {
    "openrail++": "none of the uses its attachment A lists; the list goes on to whom you give the model",
    "openrail": "none of the uses it lists; the list goes on to whom you give the model",
    "CreativeML OpenRAIL-M": "none of the uses its attachment A lists; the list goes on to whom you give the model",
    "MIT": "keep the notice with copies of the weights",
    "Apache-2.0": "keep licence and notices with copies of the weights",
    "BSD-3-Clause": "keep the notice with copies of the weights",
    "none stated": "no right is granted in words: ask the authors or counsel",
}
"""What each licence asks, in short; its own text decides. By the names of the table."""

REFUSED: frozenset[CommercialUse] = frozenset({"no", "unknown"})


def restrictions(file: WeightFile) -> str:
    return RESTRICTIONS.get(file.licence, "read its text")


def check_production(files: Iterable[WeightFile], held: Collection[str]) -> None:
    """Refuse weights that no business may use, or of which nobody knows. Asked only where `production` is on.

    held: repositories for which a licence was bought or cleared. Raises WeightsError for the first that is neither.
    """
    for file in files:
        if file.commercial_use in REFUSED and file.repo not in held:
            why = ("does not allow commercial use" if file.commercial_use == "no"
                   else "does not say whether commercial use is allowed")
            raise WeightsError(
                f"the licence of its weights ({file.licence}; {file.licence_from or 'no source noted'}) {why}, and "
                "BACKLOT_PRODUCTION is on", field="weights", value=file.repo,
                remedy="Once a licence is bought or cleared with its owner, record that with "
                f"BACKLOT_LICENCES_HELD={','.join((*sorted(held), file.repo))}")
