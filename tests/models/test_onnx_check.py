"""Hostile ONNX files: each ends in one WeightsError that names it, and nothing beside the file is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from models import tiny
from models.errors import WeightsError
from models.onnx_session import matting_session
from models.profiles import PROFILES
from models.safetensors_check import check_file

FILE = dataclasses.replace(PROFILES["sdxl"].models["matting"].files[0], size_bytes=100_000)


def changed(change: Callable[[ModelProto], None]) -> bytes:
    """The tiny graph, spoilt."""
    model = onnx.load_model_from_string(tiny.matting())
    change(model)
    return bytes(model.SerializeToString())


def elsewhere(tensor: TensorProto) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


def read_elsewhere(model: ModelProto) -> None:
    elsewhere(model.graph.initializer[0])


def read_elsewhere_inside_a_branch(model: ModelProto) -> None:
    value = numpy_helper.from_array(np.zeros(4, np.float32), "value")
    elsewhere(value)
    branch = helper.make_graph([helper.make_node("Constant", [], ["out"], value=value)], "then", [],
                               [helper.make_tensor_value_info("out", TensorProto.FLOAT, [4])])
    model.graph.node.append(helper.make_node("If", ["condition"], ["chosen"], then_branch=branch, else_branch=branch))


def bring_an_operator(model: ModelProto) -> None:
    model.graph.node[0].domain = "com.shop"


def bring_an_operator_inside_a_branch(model: ModelProto) -> None:
    branch = helper.make_graph([helper.make_node("Evil", [], ["out"], domain="com.shop")], "then", [],
                               [helper.make_tensor_value_info("out", TensorProto.FLOAT, [4])])
    model.graph.node.append(helper.make_node("If", ["condition"], ["chosen"], then_branch=branch, else_branch=branch))


def ask_for_a_set_of_operators(model: ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def leave_the_graph_out(model: ModelProto) -> None:
    model.ClearField("graph")


HOSTILE = {
    "text": (b"it is no graph", "no ONNX file"),
    "half a graph": (tiny.matting()[:-500], "no ONNX file"),
    "nothing": (b"", "without a graph"),
    "a model without a graph": (changed(leave_the_graph_out), "without a graph"),
    "a tensor in another file": (changed(read_elsewhere), "'first.weight' in another file"),
    "the same within a branch": (changed(read_elsewhere_inside_a_branch), "'value' in another file"),
    "an operator of nobody's": (changed(bring_an_operator), "operators of 'com.shop'"),
    "the same within a branch's graph": (changed(bring_an_operator_inside_a_branch), "operators of 'com.shop'"),
    "a set of operators of a vendor's": (changed(ask_for_a_set_of_operators), "operators of 'com.microsoft'"),
    "more bytes than the table allows": (tiny.matting() + bytes(200_000), "more than the 103000"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_graph_is_refused_before_a_runtime_sees_it(name: str, tmp_path: Path) -> None:
    data, said = HOSTILE[name]
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=r"onnx-community/BiRefNet_lite-ONNX/onnx/model\.onnx") as caught:
        check_file(path, FILE)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_honest_graph_passes(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(tiny.matting())
    check_file(path, FILE)


def of_shape(shape: list[object]) -> bytes:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)])
    return bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)],
                                   ir_version=8).SerializeToString())


@pytest.mark.parametrize("shape", [[1, 3, 64, 32], [1, 1, 64, 64], [3, 64, 64], [1, 3, "height", "width"]])
def test_a_graph_that_takes_no_square_picture_is_refused_in_one_line(shape: list[object]) -> None:
    with pytest.raises(WeightsError, match="not one picture") as caught:
        matting_session(of_shape(shape), name="birefnet-lite", device="cpu")
    assert "\n" not in str(caught.value)
