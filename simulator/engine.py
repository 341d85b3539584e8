"""Running a simulated engine: its graph in ONNX Runtime, for shapes that its profile allows."""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto as T
from onnx import numpy_helper

from simulator.plan import Plan

Array = npt.NDArray[Any]

NUMPY_TYPES = {
    "FP32": np.float32, "FP16": np.float16, "UINT8": np.uint8, "INT8": np.int8, "INT32": np.int32, "INT64": np.int64, "BOOL": np.bool_,
}  # fmt: skip
TRITON_TYPES: dict[int, str] = {
    T.FLOAT: "FP32", T.FLOAT16: "FP16", T.BFLOAT16: "BF16", T.UINT8: "UINT8", T.INT8: "INT8",
    T.INT32: "INT32", T.INT64: "INT64", T.BOOL: "BOOL",
}  # fmt: skip


class ShapeError(Exception):
    """An input that the profile does not allow; the text is the library's."""


class Engine:
    """A plan that can be run."""

    def __init__(self, plan: Plan, threads: int = 0) -> None:
        self.plan = plan
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # Quantise and dequantise as written: ONNX Runtime's fused S8/S8 kernels were seen to answer otherwise.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(_without_bfloat16(plan.onnx), options, providers=["CPUExecutionProvider"])

    def run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """Outputs by name.

        Raises:
            ShapeError: an input is missing, of another type, or outside profile 0.
        """
        for tensor in self.plan.inputs:
            if tensor.name not in inputs:
                raise ShapeError(
                    f"IExecutionContext::enqueueV3: Error Code 3: API Usage Error (address is not set for input tensor {tensor.name})"
                )
            self._check(tensor.name, inputs[tensor.name])
        names = [tensor.name for tensor in self.plan.outputs]
        return dict(zip(names, self._session.run(names, inputs), strict=True))

    def _check(self, name: str, value: Array) -> None:
        tensor = next(tensor for tensor in self.plan.inputs if tensor.name == name)
        if value.dtype != NUMPY_TYPES[tensor.dtype]:
            raise ShapeError(f"input {name} is {value.dtype}, the engine takes {tensor.dtype}")
        low, _, high = self.plan.profiles[0].get(name) or [list(tensor.shape)] * 3
        if len(low) != value.ndim or any(not a <= size <= b for a, size, b in zip(low, value.shape, high, strict=True)):
            raise ShapeError(
                f"IExecutionContext::setInputShape: Error Code 3: API Usage Error (Set dimensions of {name} are {list(value.shape)}. "
                f"Supported range is {low} to {high}.)"
            )


def _without_bfloat16(serialized: bytes) -> bytes:
    """ONNX Runtime has no BFloat16 convolution on the CPU: compute it in FP32, with the weights rounded as they are."""
    model = onnx.load_from_string(serialized)
    found = False
    for initializer in model.graph.initializer:
        if initializer.data_type == T.BFLOAT16:
            initializer.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(initializer).astype(np.float32), initializer.name))
            found = True
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "to" and attribute.i == T.BFLOAT16:
                attribute.i = T.FLOAT
                found = True
            if attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == T.BFLOAT16:
                attribute.t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(attribute.t).astype(np.float32), attribute.t.name))
                found = True
    if not found:
        return serialized
    del model.graph.value_info[:]
    return model.SerializeToString()
