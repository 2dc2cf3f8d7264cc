"""A job as one JSON object: what `backlot run --json` and `backlot show --json` print. Its shape is a contract."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from storage.lineage import Lineage, PassRow
from tasks.classify import error_facts


def job_report(lineage: Lineage, job_id: str) -> dict[str, Any]:
    """job_id, pipeline, profile, state, outputs, requested, resolved, sources, passes, judgements, error.
    Raises JobNotFound."""
    job = lineage.job(job_id)
    return {
        "job_id": job.job_id, "pipeline": job.pipeline, "profile": job.profile, "state": job.state,
        "outputs": [{"role": role, "uri": uri, "digest": artifact.digest}
                    for role, artifact, uri in lineage.outputs(job_id)],
        "requested": dict(job.requested), "resolved": dict(job.resolved),
        "sources": [{"uri": source.uri, "version": source.version, "digest": source.source_digest,
                     "notes": list(source.notes)} for source in lineage.sources(job_id)],
        "passes": [_pass(row) for row in lineage.passes(job_id)],
        "judgements": [asdict(one) for one in lineage.judgements(job_id)], "error": job.error,
    }


def run_report(lineage: Callable[[], Lineage], job_id: str | None, error: BaseException | None, state: str
               ) -> dict[str, Any]:
    """The same object for a run that just ended; `state` counts where it ended before a job was opened."""
    if job_id is not None:
        return job_report(lineage(), job_id)
    return {"job_id": None, "pipeline": None, "profile": None, "state": state, "outputs": [], "requested": None,
            "resolved": None, "sources": [], "passes": [], "judgements": [],
            "error": error_facts(error) if error else None}


def _pass(row: PassRow) -> dict[str, Any]:
    return {"at": row.at, "pass": row.pass_name, "disposition": row.disposition, "reason": row.reason,
            "notes": list(row.notes), "seconds": row.seconds, "model_calls": row.model_calls, "key": row.key,
            "made_by": row.made_by_job,
            "outputs": {role: artifact.digest for role, artifact in row.outputs.items()}}
