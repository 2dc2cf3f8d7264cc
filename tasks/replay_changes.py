"""What is otherwise now than it was recorded with an execution: in the parts of its key, and in what enters no key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.passes import PassContext
from models.zoo import Zoo
from storage.answers import Change, Recorded
from storage.digests import canonical_json
from storage.records import Artifact, KeyParts, RunFacts
from tasks.machine import environment
from tasks.work import Work


def key_now(work: Work, given: Mapping[str, Artifact]) -> str:
    """The key that the pipeline would ask for today at this place."""
    return _today(work, given).key


def key_changes(recorded: Recorded, work: Work, given: Mapping[str, Artifact]) -> tuple[Change, ...]:
    """The parts of the key that are otherwise: pass, version, params, inputs, weights, each by name."""
    row = recorded.row
    before = KeyParts(pass_name=row.pass_name, pass_version=recorded.pass_version or 0, params=row.params,
                      inputs=row.inputs, weights=row.weights)
    return _changes(before.parts(), _today(work, given).parts())


def _today(work: Work, given: Mapping[str, Artifact]) -> KeyParts:
    """given: the inputs by today's order; of those that the job never made the recorded ones count."""
    inputs = {role: artifact.digest or work.parts.inputs.get(role, "") for role, artifact in given.items()}
    return KeyParts(pass_name=work.parts.pass_name, pass_version=work.parts.pass_version, params=work.parts.params,
                    inputs=inputs, weights=work.parts.weights)


def environment_changes(recorded: Recorded, work: Work, context: PassContext, zoo: Zoo) -> tuple[Change, ...]:
    """Files of weights, device, dtype, batch size, notes, versions and machine, after the pass has run here alone.

    What only one side knows is not compared: an older Backlot recorded less.
    """
    row, here = recorded.row, environment(zoo if work.models else None)
    known = [name for name in recorded.environment if name in here]
    before: dict[str, Any] = {"device": row.device, "dtype": row.dtype, "batch_size": row.batch_size,
                              "notes": list(row.notes),
                              **{f"environment.{name}": recorded.environment[name] for name in known}}
    # A pass without models computes on the CPU whatever the zoo's device is.
    device = zoo.device_of(work.models.values()) if work.models else RunFacts.device
    dtype = zoo.dtype_of(work.models.values()) if work.models else RunFacts.dtype
    after: dict[str, Any] = {"device": device, "dtype": dtype, "batch_size": 1, "notes": list(context.notes),
                             **{f"environment.{name}": here[name] for name in known}}
    for role, model in work.models.items():
        for file, digest in recorded.files.get(role, {}).items():
            before[f"file.{file}"], after[f"file.{file}"] = digest, model.sha256.get(file)
    return _changes(before, after)


def unexplained(recorded: Recorded, zoo: Zoo) -> str:
    """What to say where pixels differ and nothing that is known of then and now does."""
    unknown = sorted(environment(zoo if recorded.row.weights else None).keys() ^ recorded.environment.keys())
    return "nothing recorded explains it; not known of both runs: " + ", ".join(
        [*unknown, "drivers", "settings of the libraries"])


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    """Compared as canonical JSON, as keys are: in Python true equals 1."""
    names = [*before, *(name for name in after if name not in before)]
    return tuple(Change(part=name, before=before.get(name), after=after.get(name)) for name in names
                 if (name in before) != (name in after)
                 or canonical_json(before.get(name)) != canonical_json(after.get(name)))
