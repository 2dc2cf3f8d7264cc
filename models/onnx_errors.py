"""What onnxruntime says when the memory is too small. Its errors have no class for it, only words."""

from __future__ import annotations

MODULE = "onnxruntime."
"""Where its classes live: onnxruntime.capi.onnxruntime_pybind11_state, without a common base but Exception."""

GPU_WORDS = ("failed to allocate memory", "bfc_arena", "out of memory", "alloc_failed")
"""Of its allocator (in front of a CPU's memory too, where none can tell them apart), of CUDA ("CUDA failure 2: out of
memory"), cuDNN and cuBLAS. Lower case."""

CPU_WORDS = ("bad_alloc",)
"""Of C++, below its allocator."""


def out_of_memory(error: BaseException) -> str | None:
    """"gpu" or "cpu" where onnxruntime ran out of memory, by the class's module and its words; else None. Nothing is
    imported to ask."""
    if not any(kind.__module__.startswith(MODULE) for kind in type(error).__mro__):
        return None
    text = str(error).lower()
    if any(word in text for word in GPU_WORDS):
        return "gpu"
    return "cpu" if any(word in text for word in CPU_WORDS) else None
