"""What an ONNX file must be before a runtime opens it: one self-contained graph of standard operators.

ONNX is data, but two of its features reach beyond the file: tensors may name other files to read from ("external
data"), and nodes may name operators that only a library of somebody's brings along. Both are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

STANDARD = frozenset({"", "ai.onnx"})
"""The two spellings of ONNX's own operator domain."""


def check_graph(data: bytes) -> None:
    """Raises ValueError, in words that follow the file's name, for what is no such graph. Reads nothing else.

    Protobuf itself refuses what nests deeper than 100 messages and what has more than 2 GiB.
    """
    import onnx  # late: only who opens such a file waits for it
    from google.protobuf.message import DecodeError

    try:
        model: ModelProto = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise ValueError("is no ONNX file") from error
    if not model.graph.node:
        raise ValueError("is an ONNX file without a graph")
    foreign = {name for name in _domains(model) if name not in STANDARD}
    if foreign:
        raise ValueError(f"asks for operators of {', '.join(map(repr, sorted(foreign)))}, which ONNX does not have")
    for tensor in _tensors(model.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise ValueError(f"keeps the tensor {tensor.name[:60]!r} in another file")


def _domains(model: ModelProto) -> Iterator[str]:
    yield from (used.domain for used in model.opset_import)
    yield from (function.domain or "a function of its own" for function in model.functions)
    yield from (node.domain for node in _nodes(model.graph))


def _nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """Its nodes and those of every graph inside them (the branches of an If, the body of a Loop)."""
    for node in graph.node:
        yield node
        for inner in _inner(node):
            yield from _nodes(inner)


def _inner(node: NodeProto) -> Iterator[GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
        for inner in _inner(node):
            yield from _tensors(inner)
