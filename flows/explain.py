"""Lineage in words and trees: what a job did, what a picture was made from, why a pass ran."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from flows.tables import plain, short, table
from storage.lineage import Change, Lineage, Node, Why
from storage.records import Job
from tasks.progress import of_earlier_run

STATE_STYLE = {"completed": "green", "needs_review": "yellow", "running": "cyan"}


def show(console: Console, report: Mapping[str, Any]) -> None:
    """A job's report as a page: state, decisions, passes and what was noted of them, pictures."""
    console.print(Text.assemble((report["job_id"], "bold"), f"  {report['pipeline']}, profile {report['profile']}, ",
                                (report["state"], STATE_STYLE.get(report["state"], "red"))))
    if error := report["error"]:
        console.print(Text(f"  {error['message']}", style="red"))
    for source in report["sources"]:
        console.print(Text("\n".join((f"  photo: {source['uri']}", *(f"    {note}" for note in source["notes"])))))
    decisions = table("field", "asked", "runs as", "why", title="Decided")
    for one in report["resolved"].get("decisions", ()):
        decisions.add_row(*plain(one["field"], short(one["requested"]), short(one["resolved"]), one["why"]))
    passes = table("pass", "disposition", "seconds", "calls", "key", "made by", title="Passes")
    for one in report["passes"]:
        skipped = one["disposition"] == "skipped"
        passes.add_row(*plain(one["at"], one["disposition"], "" if skipped else f"{one['seconds']:.2f}",
                               str(one["model_calls"] or ""), (one["key"] or "")[:12], one["made_by"] or one["reason"]))
    noted = table("pass", "note", title="Noted")
    for one in report["passes"]:
        for note in one["notes"]:
            noted.add_row(*plain(one["at"], of_earlier_run(note) if one["disposition"] == "reused" else note))
    judgements = table("measure", "value", "limit", "verdict", "", title="The product in the picture")
    for one in report["judgements"]:
        judgements.add_row(*plain(one["name"], _number(one["value"]), _number(one["limit"]), one["verdict"],
                                   one["said"]))
    pictures = table("role", "uri", title="Delivered")
    for one in report["outputs"]:
        pictures.add_row(*plain(one["role"], one["uri"]))
    for part in (decisions, passes, noted, judgements, pictures):
        if part.row_count:
            console.print(part)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def jobs(console: Console, rows: Sequence[Job]) -> None:
    listed = table("job", "pipeline", "profile", "state", "opened (UTC)")
    for job in rows:
        opened = datetime.fromtimestamp(job.created_at, UTC).strftime("%Y-%m-%d %H:%M:%S")
        listed.add_row(*plain(job.job_id, job.pipeline, job.profile, job.state, opened))
    console.print(listed if rows else "No jobs yet: `backlot run` makes one.")


def ancestry(lineage: Lineage, of: str) -> Node:
    """The tree behind a job's final picture, or behind a delivered one named by uri, path or (shortened) digest."""
    if lineage.has_job(of):
        return lineage.ancestry(of)
    job_id, role, _ = lineage.find_output(of)
    return lineage.ancestry(job_id, role)


def tree_facts(node: Node) -> dict[str, Any]:
    """The tree as plain values, for --json."""
    facts: dict[str, Any] = {"role": node.role, "digest": node.artifact.digest,
                             "width": node.artifact.width, "height": node.artifact.height}
    if node.source is not None:
        facts["source"] = {"uri": node.source.uri, "version": node.source.version, "digest": node.source.source_digest}
    if node.versions:
        facts["versions"] = list(node.versions)
    if node.made_by is not None:
        made = node.made_by
        facts["made_by"] = {
            "at": made.at, "pass": made.pass_name, "key": made.key, "generation": made.generation,
            "disposition": made.disposition, "job": made.made_by_job, "params": dict(made.params),
            "weights": dict(made.weights), "seconds": made.seconds, "model_calls": made.model_calls,
            "device": made.device, "dtype": made.dtype, "batch_size": made.batch_size}
        facts["inputs"] = [tree_facts(below) for below in node.inputs.values()]
    return facts


def tree(console: Console, node: Node) -> None:
    """The tree as people read it. A picture that several passes read is drawn once; later mentions point to it."""
    drawn: set[str] = set()
    trunk = Tree(_label(node), guide_style="dim")
    _branch(trunk, node, drawn)
    console.print(trunk)


def _branch(branch: Tree, node: Node, drawn: set[str]) -> None:
    if node.made_by is not None:
        drawn.add(node.made_by.at)
    for below in node.inputs.values():
        seen = below.made_by is not None and below.made_by.at in drawn
        label = _label(below)
        if seen:
            label.append("  (above)", style="dim")
        twig = branch.add(label)
        if not seen:
            _branch(twig, below, drawn)


def _label(node: Node) -> Text:
    label = Text.assemble((node.role, "bold"), f" {node.artifact.digest[:12]} ")
    if node.source is not None:
        return label.append(f"read from {node.source.uri}")
    if node.role == "mask":
        return label.append("set by hand" + _versions(node.versions))
    if node.made_by is None:
        return label
    made = node.made_by
    label.append(f"by {made.at}", style="cyan")
    label.append(f", {made.disposition}" + (f" from {made.made_by_job}" if made.disposition == "reused" else ""))
    # A cut-out by a mask was matted by nothing: its backend only stands there.
    idle = {"backend"} if "mask" in node.inputs else set()
    params = ", ".join(f"{name}={short(value)}" for name, value in made.params.items()
                       if "prompt" not in name and name not in idle)
    return label.append(f"  {params}", style="dim")


def _versions(versions: Sequence[int]) -> str:
    if not versions:
        return ""
    return f", version{'s' * (len(versions) > 1)} {', '.join(map(str, versions))}"


def why(console: Console, answers: Sequence[Why]) -> None:
    listed = table("pass", "disposition", "why")
    for answer in answers:
        listed.add_row(*plain(answer.at, answer.disposition, why_words(answer)))
    console.print(listed)


def why_words(answer: Why) -> str:
    """The reason as a sentence: "only light_mix_scale changed, 0.5 -> 0.7"."""
    if answer.disposition == "skipped":
        return answer.reason
    if answer.disposition == "reused":
        return f"nothing changed: made by {answer.made_by_job}"
    if answer.nearest_job is None:
        return "no earlier result of this pass"
    if not answer.changes:
        return answer.reason
    said = "; ".join(_change_words(change) for change in answer.changes)
    return f"{'only ' if len(answer.changes) == 1 else ''}{said} (against {answer.nearest_job})"


def why_facts(answer: Why) -> dict[str, Any]:
    return {**asdict(answer), "words": why_words(answer)}


def _change_words(change: Change) -> str:
    group, _, name = change.part.partition(".")
    match group:
        case "inputs" if change.before is None:
            return f"the input {name} is new"
        case "inputs" if change.after is None:
            return f"the input {name} is gone"
        case "inputs":
            return f"the input {name} changed"
        case "weights":
            return f"the weights {name} changed, {short(change.before)} -> {short(change.after)}"
        case "version":
            return f"the pass's version changed, {change.before} -> {change.after}"
        case _:
            return f"{name or group} changed, {short(change.before)} -> {short(change.after)}"
