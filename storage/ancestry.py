"""The tree behind a picture, walked through the passes of one job.

Never by digest alone: two passes that made the same bytes (a strength of 0 returns its input) would be one, and so
would two jobs. So the maker of an input is the pass of this very job that came before and gave it in that role.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from storage.answers import Node, PassRow, SourceRow
from storage.records import Artifact


def grow(role: str, artifact: Artifact, passes: Sequence[PassRow], sources: Sequence[SourceRow],
         known: dict[str, Artifact], masks: Mapping[str, tuple[int, ...]]) -> Node:
    """The node of `artifact`, used as `role`, with all that is below it.

    passes: of the job, in order; sources: what it read; known: digest -> artifact, of every input of the passes;
    masks: digest -> versions, of those that were set by hand. A picture that several passes read is one node, so the
    tree takes no more memory than the job has passes.
    """
    grown: dict[str, Node] = {}

    def node(role: str, artifact: Artifact, before: Sequence[PassRow]) -> Node:
        maker = _maker(role, artifact.digest, before)
        if maker is None:
            return Node(role=role, artifact=artifact, source=_source(artifact.digest, sources),
                        versions=masks.get(artifact.digest, ()) if role == "mask" else ())
        if maker.at not in grown:
            earlier = [one for one in before if one.position < maker.position]
            grown[maker.at] = Node(role=role, artifact=artifact, made_by=maker, inputs={
                name: node(name, known[digest], earlier) for name, digest in maker.inputs.items()})
        return replace(grown[maker.at], role=role, artifact=artifact)

    return node(role, artifact, passes)


def _maker(role: str, digest: str, before: Sequence[PassRow]) -> PassRow | None:
    """The pass that gave this picture: one that is called so or gives it in this role if there is one; then the latest.
    """
    makers = [one for one in before if any(output.digest == digest for output in one.outputs.values())]
    named = [one for one in makers if one.at == role or role in one.outputs]
    return max(named or makers, key=lambda one: one.position, default=None)


def _source(digest: str, sources: Sequence[SourceRow]) -> SourceRow | None:
    return next((source for source in sources if source.artifact.digest == digest), None)
