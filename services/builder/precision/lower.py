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
from services.builder.precision.overflow import beyond_fp16
from services.builder.precision.quantised import fit_for_fp8, for_onnxruntime, for_tensorrt, weighted
from services.builder.precision.scales import rescaled
from services.builder.precision.support import require

# Convolutions take bf16 from opset 22 on, Q/DQ nodes half scales and E4M3 from 19 on.
_LEAST_OPSET = {"fp16": 0, "bf16": 22, "int8": 19, "fp8": 19}
_QUANTISED = {"int8": TensorProto.INT8, "fp8": TensorProto.FLOAT8E4M3FN}
_HALF_NOTE = "other weights and activations {}; input, output and softmax FP32"


@dataclass(frozen=True)
class Lowered:
    """What a lowering did; ``notes`` are sentences for the user and the build record."""

    notes: tuple[str, ...]


def lower(graph: Path, out: Path, precision: str, accelerator: str, calibration: NDArray[Any]) -> Lowered:
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
    model, notes = _onnxruntime_int8(graph, calibration) if accelerator == "onnxruntime" else _tensorrt(graph, precision, calibration)
    onnx.save(model, str(out))
    return Lowered(notes)


def _onnxruntime_int8(graph: Path, calibration: NDArray[Any]) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    model = for_onnxruntime(Graph.load(graph), calibration)
    return model, (f"U8 activations, S8 weights per channel, ranges from {len(calibration)} inputs",)


def _tensorrt(path: Path, precision: str, calibration: NDArray[Any]) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    graph = Graph.load(path, _LEAST_OPSET[precision])
    if precision == "bf16":
        return to_half(graph, TensorProto.BFLOAT16), (_HALF_NOTE.format("bf16"),)
    large = beyond_fp16(graph, calibration)
    notes = (_HALF_NOTE.format("fp16"), *([f"{len(large)} nodes stay FP32, fp16 could overflow there"] if large else []))
    if precision != "fp16":
        kind = _QUANTISED[precision]
        targets = fit_for_fp8(graph) if precision == "fp8" else weighted(graph)
        notes = (f"{len(targets)} of {len(weighted(graph))} matrix operations {precision}, ranges from {len(calibration)} inputs", *notes)
        graph = Graph(rescaled(for_tensorrt(graph, calibration, targets), graph.initializers, kind))
    return to_half(graph, TensorProto.FLOAT16, large), notes
