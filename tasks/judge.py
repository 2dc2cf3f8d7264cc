"""Is the product in the final picture still the product? Measured before anything is delivered, recorded either way."""

from __future__ import annotations

from models.fidelity import VERSION, Measure, measures
from storage.records import Artifact, Judgement, Verdict
from storage.settings import Settings
from tasks.progress import Judged, tell
from tasks.requests import JobRef
from tasks.services import Services


def judge(here: Services, job: JobRef, placed: Artifact, picture: Artifact) -> bool:
    """May the picture be delivered? Measures it against its placed product, which pictures that some job measured by
    the same version need not be; the limits are today's."""
    known = here.ledger.known_judgements(placed, picture, VERSION)
    found = ([Measure(name=one.name, value=one.value, said=one.said) for one in known]
             or measures(here.picture(placed), here.picture(picture)))
    judgements = [_judged(one, here.settings) for one in found]
    here.ledger.record_judgements(job.job_id, placed, picture, judgements)
    for one in judgements:
        tell(Judged(job_id=job.job_id, judgement=one))
    return all(one.verdict != "fail" for one in judgements)


def _judged(measure: Measure, settings: Settings) -> Judgement:
    limit = {"min_tile_ncc": settings.min_tile_ncc}.get(measure.name)
    return Judgement(name=measure.name, version=VERSION, value=measure.value, limit=limit,
                     verdict=_verdict(measure.value, limit), said=measure.said)


def _verdict(value: float | None, limit: float | None) -> Verdict:
    if value is None:
        return "abstain"
    if limit is None:
        return "reported"
    return "pass" if value >= limit else "fail"
