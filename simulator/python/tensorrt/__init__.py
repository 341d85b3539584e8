"""A simulator of the tensorrt module: what Polygraphy calls to load a plan, describe it and run it, and nothing else.

Polygraphy itself is the real one. Where it asks CUDA for memory it gets host memory: this module takes the place of the CUDA
runtime too, in ``polygraphy.cuda.cuda``. Names and behaviour: NVIDIA's Python API documentation of TensorRT 10 and 11; a unit
test compares the names with the module ``tensorrt_rtx``.
"""

import ctypes
import enum
import itertools
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polygraphy.cuda.cuda

sys.path.append(str(Path(__file__).resolve().parents[3]))

from simulator import misbehave
from simulator.engine import NUMPY_TYPES, Engine, ShapeError
from simulator.machine import Machine
from simulator.plan import DeserializationError, Plan, Tensor

__version__ = Machine.from_env().version


class DataType(enum.Enum):
    """Element types."""

    FLOAT, HALF, INT8, INT32, INT64, UINT8, BOOL, BF16, FP8 = range(9)


float32, float16, bfloat16, fp8 = DataType.FLOAT, DataType.HALF, DataType.BF16, DataType.FP8
int8, int32, int64, uint8, bool = DataType.INT8, DataType.INT32, DataType.INT64, DataType.UINT8, DataType.BOOL  # noqa: A001
_TYPES = {"FP32": float32, "FP16": float16, "BF16": bfloat16, "INT8": int8, "INT32": int32, "INT64": int64, "UINT8": uint8, "BOOL": bool}


class TensorIOMode(enum.Enum):
    """What a tensor is to the engine."""

    NONE, INPUT, OUTPUT = range(3)


class TensorFormat(enum.Enum):
    """Memory layouts, as far as Polygraphy asks for them."""

    LINEAR, CHW16, HWC = range(3)


class ILogger:
    """What messages go to; Polygraphy has its own."""

    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class Logger(ILogger):
    """The severities are found here too."""


class IOutputAllocator:
    """Makes room for outputs; Polygraphy has its own."""


class IExecutionContext:
    """An engine ready to run in host memory."""

    active_optimization_profile = 0

    def __init__(self, engine: "ICudaEngine") -> None:
        self.engine = engine
        plan = engine.plan
        if misbehave.asked() == "wrong-answers":
            plan = Plan(**{**vars(plan), "onnx": misbehave.wrong_answers(plan.onnx)})
        self._run = Engine(plan)
        self._shapes = {tensor.name: tensor.shape for tensor in plan.tensors}
        self._addresses: dict[str, int] = {}
        self._allocators: dict[str, Any] = {}

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, as far as it is set."""
        return self._shapes[name]

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> int:
        """Set an input's shape; false, with the library's message, outside the profile."""
        low, _, high = self.engine.get_tensor_profile_shape(name, 0)
        if len(shape) != len(low) or any(not a <= size <= b for a, size, b in zip(low, shape, high, strict=True)):
            self.engine.complain(
                f"IExecutionContext::setInputShape: Error Code 3: API Usage Error (Set dimensions of {name} are {[*shape]}. "
                f"Supported range is {[*low]} to {[*high]}.)"
            )
            return False
        self._shapes[name] = tuple(shape)
        return True

    def get_tensor_address(self, name: str) -> int:
        """Where a tensor lies; 0 where that is not set."""
        return self._addresses.get(name, 0)

    def set_tensor_address(self, name: str, memory: int) -> int:
        """Say where an input lies."""
        self._addresses[name] = memory
        return True

    def set_output_allocator(self, name: str, output_allocator: IOutputAllocator) -> int:
        """Say who makes room for an output."""
        self._allocators[name] = output_allocator
        return True

    def execute_async_v3(self, stream_handle: int) -> int:
        """Run, at once."""
        plan = self.engine.plan
        try:
            outputs = self._run.run({tensor.name: self._read(tensor) for tensor in plan.inputs})
        except ShapeError as error:
            self.engine.complain(str(error))
            return False
        for name, value in outputs.items():
            whole = np.ascontiguousarray(value)
            target = self._allocators[name].reallocate_output_async(name, 0, whole.nbytes, 1, stream_handle)
            ctypes.memmove(target, whole.ctypes.data, whole.nbytes)
            self._allocators[name].notify_shape(name, whole.shape)
        return True

    def _read(self, tensor: Tensor) -> Any:
        kind, shape = np.dtype(NUMPY_TYPES[tensor.dtype]), self._shapes[tensor.name]
        if -1 in shape or not self._addresses.get(tensor.name):
            raise ShapeError(f"IExecutionContext::enqueueV3: Error Code 3: API Usage Error (input {tensor.name} is not set)")
        data = ctypes.string_at(self._addresses[tensor.name], math.prod(shape) * kind.itemsize)
        return np.frombuffer(data, kind).reshape(shape)


class ICudaEngine:
    """A simulated engine."""

    def __init__(self, plan: Plan, logger: Any) -> None:
        self.plan, self._logger = plan, logger
        self._tensors = {tensor.name: tensor for tensor in plan.tensors}

    @property
    def num_io_tensors(self) -> int:
        """How many inputs and outputs there are."""
        return len(self.plan.tensors)

    @property
    def num_optimization_profiles(self) -> int:
        """How many profiles there are."""
        return len(self.plan.profiles)

    def get_tensor_name(self, index: int) -> str:
        """Name of a tensor."""
        return self.plan.tensors[index].name

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        """Input or output."""
        return TensorIOMode[self._tensors[name].mode.upper()]

    def get_tensor_dtype(self, name: str) -> DataType:
        """Element type."""
        return _TYPES[self._tensors[name].dtype]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        """Shape, -1 where it is dynamic."""
        return self._tensors[name].shape

    def get_tensor_format(self, name: str, profile_index: int = 0) -> TensorFormat:  # noqa: ARG002
        """Always linear."""
        return TensorFormat.LINEAR

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        """Smallest, best and largest shape of an input."""
        return [tuple(bound) for bound in self.plan.profiles[profile_index][name]]

    def is_shape_inference_io(self, name: str) -> int:  # noqa: ARG002
        """No tensor here is a shape."""
        return False

    def complain(self, text: str) -> None:
        """Log an error of the library."""
        self._logger.log(ILogger.ERROR, text)

    def create_execution_context(self) -> IExecutionContext:
        """A context of this engine."""
        return IExecutionContext(self)


class Runtime:
    """Loads plans."""

    engine_host_code_allowed = False

    def __init__(self, logger: Any) -> None:
        self.logger = logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        """The engine of a plan, or None with the library's message."""
        try:
            return ICudaEngine(Plan.load(bytes(serialized_engine), Machine.from_env()), self.logger)
        except DeserializationError as error:
            self.logger.log(ILogger.ERROR, str(error))
            return None


def init_libnvinfer_plugins(logger: Any, namespace: str) -> int:  # noqa: ARG001
    """There are no plugins."""
    return True


class _HostMemory:
    """The CUDA runtime as Polygraphy calls it (``polygraphy.cuda.cuda.Cuda``), on this machine's own memory."""

    def __init__(self) -> None:
        self._blocks: dict[int, Any] = {}
        self._streams = itertools.count(1)

    def create_stream(self) -> int:
        return next(self._streams)

    def stream_synchronize(self, ptr: int) -> None:
        """Everything is done at once."""

    def destroy_stream(self, ptr: int) -> None:
        """Nothing is behind a stream."""

    def malloc(self, nbytes: int) -> int:
        block = ctypes.create_string_buffer(max(1, nbytes))
        self._blocks[ctypes.addressof(block)] = block
        return ctypes.addressof(block)

    def free(self, ptr: int) -> None:
        if ptr:  # as cudaFree: nothing to do for a null pointer
            del self._blocks[ptr]

    def memcpy(self, dst: int, src: int, nbytes: int, kind: Any, stream_ptr: int | None = None) -> None:  # noqa: ARG002
        ctypes.memmove(dst, src, nbytes)


polygraphy.cuda.cuda.G_CUDA = _HostMemory()
