"""One FP32 graph in, the same graph at another precision out."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from services.builder.precision.graph import Graph
from services.builder.precision.half import to_half
from services.builder.precision.support import require

_HALF = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}


@dataclass(frozen=True)
class Lowered:
    """What a lowering did; ``notes`` are sentences for the user and the build record."""

    notes: tuple[str, ...]


def lower(graph: Path, out: Path, precision: str, accelerator: str, calibration: NDArray[Any]) -> Lowered:  # noqa: ARG001
    """Write the graph at a precision, made the way its compiler is fast with.

    Args:
        graph: FP32 ONNX file with one input and one output, batch dynamic.
        out: ONNX file to write; its input and output keep their names, types and shapes.
        precision: ``fp32``, ``fp16``, ``bf16``, ``int8`` or ``fp8``.
        accelerator: ``tensorrt`` or ``onnxruntime``.
        calibration: inputs as the graph takes them, UINT8 [N, H, W, 3] or FP32 [N, 3, H, W], N from 8 to 512.

    Raises:
        SettingsError: the precision cannot be had with this accelerator, or with this graph.
    """
    require(precision, accelerator)
    if precision == "fp32":
        shutil.copyfile(graph, out)
        return Lowered(())
    model = to_half(Graph.load(graph), _HALF[precision])
    onnx.save(model, str(out))
    return Lowered((f"weights and activations {precision}; input, output and softmax FP32",))
