"""Post-training quantisation by ONNX Runtime's quantiser: FP32 graph → graph with Q/DQ nodes, ranges from real inputs.

Two recipes, because the compilers are fast with different graphs. TensorRT: symmetric activations, weights per output channel,
Q/DQ at the inputs of matrix operations and nowhere else, no quantised bias (its parser refuses INT32 there), and on the
residual branch of an Add, so that the other branch fuses with its convolution (TensorRT documentation, "Working with Quantized
Types"; NVIDIA's ModelOpt applies the same recipe). ONNX Runtime: U8 activations, S8 weights, outputs too, which its AVX2 kernels need.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import NodeProto
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static

from services.builder.precision.graph import MATRIX_OPS, Graph, replace
from services.builder.precision.half import fp32_ends
from services.builder.precision.targets import weighted
from services.core.files import scratch_folder

_BATCH = 4


class _Batches(CalibrationDataReader):  # type: ignore[misc]
    """Feeds the calibration inputs a few at a time."""

    def __init__(self, name: str, inputs: NDArray[Any]) -> None:
        starts = range(0, len(inputs), _BATCH)
        self.feeds: Iterator[dict[str, NDArray[Any]]] = iter([{name: inputs[start : start + _BATCH]} for start in starts])

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return next(self.feeds, None)


def for_onnxruntime(graph: Graph, inputs: NDArray[Any]) -> onnx.ModelProto:
    """U8/S8 Q/DQ: in a convolutional network on every operator that has integer kernels, in a transformer on weights only.

    A layer norm, a softmax of attention or a GELU in 8 bits costs a transformer its accuracy and brings it little speed. Weights keep
    their full 8 bits: ``reduce_range`` would keep processors without VNNI from saturating, but its 7 bits cost more than that
    (docs/decisions/0004 has the numbers); the accuracy gate runs on the building processor and sees saturation.
    """
    ends = fp32_ends(graph)
    inner = [node for node in graph.model.graph.node if node.name not in ends]
    options: dict[str, Any] = {}
    if any(node.op_type == "LayerNormalization" for node in inner):
        inner = weighted(graph)
        options = {"extra_options": {"OpTypesToExcludeOutputQuantization": [*MATRIX_OPS]}}
    return _quantise(graph.model, inputs, nodes_to_quantize=[node.name for node in inner], activation_type=QuantType.QUInt8, **options)


def for_tensorrt(graph: Graph, inputs: NDArray[Any], targets: Sequence[NodeProto]) -> onnx.ModelProto:
    """Symmetric S8/S8 Q/DQ on the inputs of ``targets`` and on the residual branches; everything else stays FP32."""
    residuals = dict(_residuals(graph, targets))
    model = _quantise(
        graph.model,
        inputs,
        op_types_to_quantize=[*MATRIX_OPS, "Add"],
        nodes_to_quantize=[*(node.name for node in targets), *residuals],
        activation_type=QuantType.QInt8,
        extra_options={
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,
            "OpTypesToExcludeOutputQuantization": [*MATRIX_OPS, "Add"],
            "QDQOpTypePerChannelSupportToAxis": {"MatMul": 1},
        },
    )
    return _without_main_branch(model, residuals)


def _residuals(graph: Graph, targets: Sequence[NodeProto]) -> Iterator[tuple[str, str]]:
    """Add nodes that join a quantised convolution and a residual branch, each with the convolution's tensor.

    Where both branches are convolutions the later one counts: the other's result has to wait for it in memory anyway.
    """
    order = {node.output[0]: index for index, node in enumerate(targets) if node.op_type == "Conv"}
    for node in graph.model.graph.node:
        if node.op_type == "Add" and all(name in graph.producer for name in node.input):
            fusable = [name for name in node.input if name in order and len(graph.consumers[name]) == 1]
            if fusable:
                yield node.name, max(fusable, key=lambda name: order[name])


def _without_main_branch(model: onnx.ModelProto, residuals: dict[str, str]) -> onnx.ModelProto:
    """Take the Q/DQ pair off the branch that an Add shares a kernel with."""
    producer = {name: node for node in model.graph.node for name in node.output}
    dropped: set[str] = set()
    for node in model.graph.node:
        if node.name not in residuals:
            continue
        for index, name in enumerate(node.input):
            dequantise = producer[name]
            quantise = producer[dequantise.input[0]]
            if quantise.input[0] == residuals[node.name]:
                node.input[index] = quantise.input[0]
                dropped |= {quantise.name, dequantise.name}
    return replace(model, [node for node in model.graph.node if node.name not in dropped], model.graph.initializer)


def _quantise(model: onnx.ModelProto, inputs: NDArray[Any], **options: Any) -> onnx.ModelProto:
    reader = _Batches(model.graph.input[0].name, inputs)
    silenced = logging.root.manager.disable
    logging.disable(logging.WARNING)  # it advises a pre-processing that `Graph.load` has done
    try:
        with scratch_folder() as folder:
            source, out = folder / "fp32.onnx", folder / "quantised.onnx"
            onnx.save(model, str(source))  # given a file, the quantiser leaves our copy alone
            quantize_static(
                source, out, reader, per_channel=True, weight_type=QuantType.QInt8, calibrate_method=CalibrationMethod.MinMax, **options
            )
            return onnx.load(str(out))
    finally:
        logging.disable(silenced)
