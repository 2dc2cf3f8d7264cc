"""What is recorded of the executions that a job rests on, beyond what is shown of them: enough to run them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, select

from storage.answers import PassRow, Recorded
from storage.records import Artifact
from storage.tables import environment, model_file, pass_execution


def recorded(connection: Connection, passes: Sequence[PassRow], known: Mapping[str, Artifact]) -> list[Recorded]:
    """Each of `passes` with its pass version, inputs, environment and weight files; known: digest -> every input."""
    runs = {row.exec_id: row for row in connection.execute(
        select(pass_execution.c.exec_id, pass_execution.c.pass_version, environment.c.versions)
        .join_from(pass_execution, environment, isouter=True)
        .where(pass_execution.c.exec_id.in_([one.exec_id for one in passes if one.exec_id])))}
    files = _files(connection, {digest for one in passes for digest in one.weights.values()})
    return [Recorded(row=one) if one.exec_id is None else Recorded(
        row=one, pass_version=runs[one.exec_id].pass_version, environment=runs[one.exec_id].versions or {},
        inputs={role: known[digest] for role, digest in one.inputs.items()},
        files={role: files.get(digest, {}) for role, digest in one.weights.items()}) for one in passes]


def _files(connection: Connection, digests: set[str]) -> dict[str, dict[str, str]]:
    """{model digest: {repository/path: SHA-256}} of the models that are made of files."""
    found: dict[str, dict[str, str]] = {}
    for row in connection.execute(select(model_file).where(model_file.c.model_digest.in_(digests))):
        found.setdefault(row.model_digest, {})[f"{row.repo}/{row.path}"] = row.sha256
    return found
