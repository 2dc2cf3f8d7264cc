"""A checked ONNX graph made ready to run: onnxruntime on the CPU, or on a GPU where its build has one."""

from __future__ import annotations

from typing import Any

import onnxruntime
import torch

from models.components import MattingComponents
from models.errors import WeightsError
from models.onnx_check import check_graph
from models.onnx_errors import out_of_memory

_ERRORS_ONLY = 3
_CUDA = "CUDAExecutionProvider"

NO_PROVIDER = ("the matting network runs on the CPU: this onnxruntime has no CUDA provider; install onnxruntime-gpu in "
               "its place")
NOT_STARTED = ("the matting network runs on the CPU: onnxruntime's CUDA provider did not start; install the CUDA and "
               "cuDNN that this onnxruntime-gpu was built for")
"""What a user is told of a cut-out; kept with the job's pass. onnxruntime itself only logs it."""


def matting_session(graph: bytes, *, name: str, device: str) -> MattingComponents:
    """The matting network of an ONNX file's bytes.

    From bytes, not from a path: then there is no folder beside the graph that more could be read from. It takes one
    float32 picture (1, 3, side, side) and gives logits of the matte, (1, 1, side, side), as its last output. A device
    "cuda" is used where this onnxruntime has it, else the CPU, which what is returned says. Raises WeightsError; where
    the memory is too small onnxruntime's own error, for that is no fault of the file.
    """
    try:
        check_graph(graph)
        session = _session(graph, device)
        place, note = _place(session, device)
        return MattingComponents(session=session, side=_side(session), size_bytes=len(graph), device=place, note=note)
    except Exception as error:  # onnxruntime's errors have no common base but Exception
        if isinstance(error, MemoryError) or out_of_memory(error):
            raise
        words = " ".join(str(error).split())[:200]
        raise WeightsError(f"its graph cannot be used ({words})", field="weights", value=name,
                           remedy="Fetch the model's file again, or set BACKLOT_MATTING=classical") from error


def _session(graph: bytes, device: str) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = torch.get_num_threads()  # it does not read OMP_NUM_THREADS by itself
    providers: list[Any] = ["CPUExecutionProvider"]
    if device.startswith("cuda") and _CUDA in onnxruntime.get_available_providers():
        number = int(device.partition(":")[2] or 0)
        providers.insert(0, (_CUDA, {"device_id": number}))
    return onnxruntime.InferenceSession(graph, options, providers=providers)


def _place(session: Any, device: str) -> tuple[str, str]:
    """Where the session computes, and what to say where that is not `device`. A provider that does not start is left
    out by onnxruntime without an error."""
    if not device.startswith("cuda"):
        return "cpu", ""
    if session.get_providers()[0] == _CUDA:
        return device, ""
    return "cpu", NOT_STARTED if _CUDA in onnxruntime.get_available_providers() else NO_PROVIDER


def _side(session: Any) -> int:
    """The side in pixels of the square picture it takes. Raises ValueError where it takes something else."""
    inputs = session.get_inputs()
    shape = inputs[0].shape if len(inputs) == 1 else []
    if len(shape) != 4 or shape[1] != 3 or not isinstance(shape[2], int) or shape[2] != shape[3] or shape[2] < 1:
        raise ValueError(f"it takes {[one.shape for one in inputs]}, not one picture (1, 3, side, side)")
    return int(shape[2])
