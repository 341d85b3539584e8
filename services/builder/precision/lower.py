"""One FP32 graph in, the same graph at another precision out."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from services.builder.precision.graph import MATRIX_OPS, Graph
from services.builder.precision.half import to_half
from services.builder.precision.overflow import beyond_fp16
from services.builder.precision.quantised import for_onnxruntime, for_tensorrt
from services.builder.precision.scales import rescaled
from services.builder.precision.spec import PrecisionSpec, UnfitGraphError, require
from services.builder.precision.targets import targets, weighted

_HALF_NOTE = "other weights and activations {}; input, output and softmax FP32"


@dataclass(frozen=True)
class Lowered:
    """What a lowering did.

    Attributes:
        notes: sentences for the user and the build record.
        share: of the graph's matrix operations, those that are in the precision now.
    """

    notes: tuple[str, ...] = ()
    share: float = 1.0


def lower(graph: Path, out: Path, precision: str, accelerator: str, calibration: NDArray[Any]) -> Lowered:
    """Write the graph at a precision, made the way its compiler is fast with.

    Args:
        graph: FP32 ONNX file with one input and one output, batch dynamic.
        out: ONNX file to write; its input and output keep their names, types and shapes.
        precision: ``fp32``, ``fp16``, ``bf16``, ``int8`` or ``fp8``.
        accelerator: ``tensorrt``, ``onnxruntime`` or ``onnxruntime-gpu``.
        calibration: inputs as the graph takes them, UINT8 [N, H, W, 3] or FP32 [N, 3, H, W], N from 8 to 512.

    Raises:
        SettingsError: the precision cannot be had with this accelerator.
        UnfitGraphError: it cannot be had with this graph.
    """
    spec = require(precision, accelerator)
    if spec.onnx_type == TensorProto.FLOAT:
        shutil.copyfile(graph, out)
        return Lowered()
    model, lowered = _onnxruntime_int8(graph, calibration) if accelerator == "onnxruntime" else _for_gpu(graph, spec, calibration)
    onnx.save(model, str(out))
    return lowered


def _onnxruntime_int8(graph: Path, calibration: NDArray[Any]) -> tuple[onnx.ModelProto, Lowered]:
    model = for_onnxruntime(Graph.load(graph), calibration)
    return model, Lowered((f"U8 activations, S8 weights per channel, ranges from {len(calibration)} inputs",))


def _for_gpu(path: Path, spec: PrecisionSpec, calibration: NDArray[Any]) -> tuple[onnx.ModelProto, Lowered]:
    graph = Graph.load(path, spec.least_opset)
    if spec.onnx_type == TensorProto.BFLOAT16:
        return to_half(graph, TensorProto.BFLOAT16), Lowered((_HALF_NOTE.format("bf16"),))
    large = beyond_fp16(graph, calibration)
    lowered = Lowered((_HALF_NOTE.format("fp16"), *([f"{len(large)} nodes stay FP32, fp16 could overflow there"] if large else [])))
    if spec.quantised:
        graph, lowered = _quantised(graph, spec, calibration, lowered.notes)
    return to_half(graph, TensorProto.FLOAT16, large), lowered


def _quantised(graph: Graph, spec: PrecisionSpec, calibration: NDArray[Any], notes: tuple[str, ...]) -> tuple[Graph, Lowered]:
    chosen, able = targets(graph, spec.onnx_type), weighted(graph)
    if not chosen:
        raise UnfitGraphError(
            f"PRECISION={spec.name}: none of the graph's {len(able)} matrix operations has a fast {spec.name} kernel",
            hint="set PRECISION=fp16; operations of few channels, and products of one row, are not quantised",
        )
    products = sum(node.op_type in MATRIX_OPS for node in graph.model.graph.node)
    notes = (f"{len(chosen)} of {len(able)} matrix operations {spec.name}, ranges from {len(calibration)} inputs", *notes)
    model = rescaled(for_tensorrt(graph, calibration, chosen), graph.initializers, spec.onnx_type)
    return Graph(model), Lowered(notes, len(chosen) / products)
