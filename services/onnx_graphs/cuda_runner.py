"""Runs a graph with ONNX Runtime on an NVIDIA GPU, in CUDA graphs; numpy and onnxruntime alone.

The builder proves and times an engine with it, and publishes this very file beside the served model, which has nothing of the stack to
import. API: "CUDA Execution Provider" in ONNX Runtime's documentation.
"""

import ctypes
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

Array = npt.NDArray[Any]

PROVIDER = "CUDAExecutionProvider"
_OPTIONS = {"prefer_nhwc": "1", "cudnn_conv_algo_search": "HEURISTIC"}
"""Channels last is what tensor cores want; trying every algorithm found none that was faster (docs/benchmarks.md)."""
_TYPES = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32}
_FINER = 16
_ERRORS_ONLY = 3
_FATAL = 4


class CudaRunner:
    """A graph on one GPU, captured as a CUDA graph for some batch sizes up to the largest.

    A run of a CUDA graph costs one launch instead of one for every kernel, but its shapes and addresses are fixed: a batch goes into the
    smallest that holds it, and the surplus rows hold anything. That is safe because the exporter has shown that rows of a batch do not
    influence one another. A graph that cannot be captured, because a part of it runs on the CPU, is run without.

    Attributes:
        captured: whether it runs in CUDA graphs.
        problem: why it does not.
        session: one of its sessions, to be asked for names, types and shapes.
    """

    def __init__(self, model: Path, *, max_batch: int, device: int = 0) -> None:
        """Load the graph.

        Args:
            model: ONNX file with one input ``[N, ...]`` of UINT8 or FP32 and one output FP32 ``[N, ...]``, N dynamic.
            max_batch: largest N.
            device: index of the GPU, as CUDA counts them.

        Raises:
            RuntimeError: ONNX Runtime cannot use a GPU here.
            Exception: ONNX Runtime's own errors have no base of their own.
        """
        onnxruntime.set_default_logger_severity(_ERRORS_ONLY)
        onnxruntime.preload_dlls(msvc=False)
        self.problem = ""
        try:
            self._captured = [_Captured(model, size, device) for size in sizes(max_batch)]
            self.session = self._captured[0].session
        except Exception as error:
            self._captured = []
            self.problem = str(error).strip().partition("\n")[0] or type(error).__name__
            self.session = _session(model, device, capture=False)
        self.captured = bool(self._captured)
        self._input = self.session.get_inputs()[0].name

    def __call__(self, *parts: Array) -> Array:
        """Output FP32 ``[N, ...]`` for inputs of the graph's own type that make a batch ``[N, ...]``; all in host memory.

        Args:
            parts: ``[n, ...]`` each, in all from 1 to ``max_batch`` rows.
        """
        if self.captured:
            rows = sum(map(len, parts))
            return next(one for one in self._captured if one.size >= rows).run(parts, rows)
        scores: Array = self.session.run(None, {self._input: np.concatenate(parts)})[0]
        return scores


def sizes(max_batch: int) -> list[int]:
    """Batch sizes to capture: the powers of two, from 16 on one between two of them, and the largest."""
    powers = [2**power for power in range(max_batch.bit_length())]
    between = [power + power // 2 for power in powers if power >= _FINER]
    return sorted({*powers, *(size for size in between if size < max_batch), max_batch})


class _Captured:
    """A graph for one batch size.

    It has a session of its own, and so a copy of the weights: cuDNN compiles some kernels as it meets a shape, a session keeps those of
    the shape that it met last, and a CUDA graph whose kernels are gone ends in illegal instructions (seen with depthwise convolutions).
    """

    def __init__(self, model: Path, size: int, device: int) -> None:
        self.size, self.session = size, _session(model, device, capture=True)
        given, made = self.session.get_inputs()[0], self.session.get_outputs()[0]
        self._host = _locked(np.zeros((size, *given.shape[1:]), _TYPES[given.type]))
        self._input = onnxruntime.OrtValue.ortvalue_from_numpy(self._host, "cuda", device)
        self._output = onnxruntime.OrtValue.ortvalue_from_shape_and_type((size, *made.shape[1:]), _TYPES[made.type], "cuda", device)
        self._binding = self.session.io_binding()
        self._binding.bind_ortvalue_input(given.name, self._input)
        self._binding.bind_ortvalue_output(made.name, self._output)
        self._options = onnxruntime.RunOptions()
        self._options.log_severity_level = _FATAL  # errors come as exceptions
        for _ in range(2):  # the first allocates and captures
            self.session.run_with_iobinding(self._binding, self._options)

    def run(self, parts: Sequence[Array], rows: int) -> Array:
        np.concatenate(parts, out=self._host[:rows])
        self._input.update_inplace(self._host)
        self.session.run_with_iobinding(self._binding, self._options)
        scores: Array = self._output.numpy()
        return scores[:rows]


def _locked(array: Array) -> Array:
    """The same array, in pages that stay where they are: the GPU fetches them by itself, at the speed of its bus."""
    runtime = ctypes.CDLL(f"libcudart.so.{onnxruntime.cuda_version.partition('.')[0]}")  # of ONNX Runtime, which has loaded it
    address = ctypes.c_void_p(array.ctypes.data)
    if runtime.cudaHostRegister(address, ctypes.c_size_t(array.nbytes), 0) == 0:  # else it is only slower
        weakref.finalize(array, runtime.cudaHostUnregister, address)
    return array


def _session(model: Path, device: int, *, capture: bool) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL if capture else _ERRORS_ONLY
    chosen = {"device_id": str(device), "enable_cuda_graph": str(int(capture)), **_OPTIONS}
    session = onnxruntime.InferenceSession(str(model), options, providers=[(PROVIDER, chosen), "CPUExecutionProvider"])
    if PROVIDER not in session.get_providers():
        raise RuntimeError("ONNX Runtime cannot use a GPU here: its own lines above say why (a driver before R580? no CUDA libraries?)")
    return session
