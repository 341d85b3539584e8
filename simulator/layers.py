"""Layer information as the engine inspector prints it (``--exportLayerInfo``, ``polygraphy inspect model``).

Layout after public listings of the real one (github.com/NVIDIA/TensorRT issues 3876 and 4020). With dynamic shapes and
no execution context, that is with ``--skipInference``, tensors have dimension -1 and the real inspector prints
``N/A due to dynamic shapes`` for their format: only ``Weights`` still tells the precision then. The names of BFloat16
and FP8 are not in any listing found; they follow the type names of the parser.
"""

import json
from typing import Any

import onnx
from onnx import TensorProto as T

from simulator.graph import TYPE_NAMES, Graph
from simulator.plan import Plan, Tensor

UNKNOWN_FORMAT = "N/A due to dynamic shapes"
_LINEAR = {
    "Float": "Row major linear FP32", "Half": "Row major linear FP16 format", "BFloat16": "Row major linear BFloat16 format",
    "UInt8": "Row major linear UInt8 format", "Int8": "Row major Int8 format", "FP8": "Row major linear FP8 format",
}  # fmt: skip
_CHANNEL_MAJOR = {
    "Float": "Channel major FP32 format where channel % 4 == 0",
    "Half": "Channel major FP16 format where channel % 8 == 0",
    "BFloat16": "Channel major BFloat16 format where channel % 8 == 0",
    "Int8": "Thirty-two wide channel vectorized row major Int8 format",
    "FP8": "Channel major FP8 format where channel % 16 == 0",
}
_HALVES = (T.FLOAT16, T.BFLOAT16)
_COMPUTE = ("Conv", "Gemm", "MatMul", "MaxPool", "GlobalAveragePool", "AveragePool", "Add", "Softmax", "Cast", "Transpose")


def describe(graph: Graph, shapes: dict[str, list[int]], *, weakly_fp32: bool) -> list[dict[str, Any]]:
    """The layers of an engine built from a graph.

    Args:
        graph: the graph.
        shapes: a shape for every input, for the dimensions inside.
        weakly_fp32: half-precision tensors run in FP32 (a weakly typed build without precision flags).
    """
    sizes = _dimensions(graph, shapes)
    makers = {"Conv": _convolution}
    return [
        makers.get(node.op_type, _other)(graph, node, sizes, weakly_fp32) for node in graph.model.graph.node if node.op_type in _COMPUTE
    ]


def render(plan: Plan, *, context: bool) -> str:
    """The JSON text of an engine, as its TensorRT version writes it.

    TensorRT 11 made ``Datatype`` and ``Format`` of ``Format/Datatype`` (Polygraphy 0.53.6 reads both), and put objects
    called ``I/O Tensors`` in the place of the names called ``Bindings`` (NVIDIA's migration guide of IEngineInspector).
    """
    major = plan.tensorrt[0]
    shown: list[Any] = []
    if plan.verbosity == "detailed":
        shown = [_shown(layer, hidden=plan.dynamic and not context, major=major) for layer in plan.layers["layers"]]
    elif plan.verbosity == "layer_names_only":
        shown = [layer["Name"] for layer in plan.layers["layers"]]
    document: dict[str, Any] = {"Layers": shown}
    if major >= 11:
        document["I/O Tensors"] = [_io_tensor(tensor, plan) for tensor in plan.tensors]
    else:
        document["Bindings"] = [tensor.name for tensor in plan.tensors]
    return json.dumps(document, indent=1) + "\n"


def _shown(layer: dict[str, Any], *, hidden: bool, major: int) -> dict[str, Any]:
    def tensor(inner: dict[str, Any]) -> dict[str, Any]:
        dims = [-1, *inner["Dimensions"][1:]] if hidden else inner["Dimensions"]
        kind, layout = (UNKNOWN_FORMAT, UNKNOWN_FORMAT) if hidden else (inner["Datatype"], inner["Format"])
        told = {"Format/Datatype": layout} if major < 11 else {"Datatype": kind, "Format": layout}
        return {"Name": inner["Name"], "Location": "Device", "Dimensions": dims} | told

    return layer | {side: [tensor(inner) for inner in layer[side]] for side in ("Inputs", "Outputs")}


def _io_tensor(tensor: Tensor, plan: Plan) -> dict[str, Any]:
    ranges = [profile[tensor.name] for profile in plan.profiles if tensor.name in profile]
    names = {"FP32": "Float", "FP16": "Half", "BF16": "BFloat16", "UINT8": "UInt8", "INT8": "Int8", "INT32": "Int32", "INT64": "Int64"}
    kind = names.get(tensor.dtype, tensor.dtype)
    return {
        "Name": tensor.name,
        "IOMode": tensor.mode.capitalize(),
        "DataType": kind,
        "Dimensions": list(tensor.shape),
        "Location": "Device",
        "IsShapeInferenceIO": False,
        "ProfileInfo": [
            {"MinShape": low, "OptShape": middle, "MaxShape": high, "Format": f"{_LINEAR.get(kind, 'Row major linear')} (kLINEAR)"}
            for low, middle, high in ranges
        ],
    }


def _dimensions(graph: Graph, shapes: dict[str, list[int]]) -> dict[str, list[int]]:
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    for item in model.graph.input:
        for dim, size in zip(item.type.tensor_type.shape.dim, shapes.get(item.name, []), strict=False):
            dim.dim_value = size
    del model.graph.value_info[:]
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    known = (*inferred.input, *inferred.value_info, *inferred.output)
    return {item.name: [dim.dim_value for dim in item.type.tensor_type.shape.dim] for item in known}


def _kind(graph: Graph, tensor: str, weakly_fp32: bool) -> str:
    data_type = graph.types.get(tensor, T.FLOAT)
    return "Float" if weakly_fp32 and data_type in _HALVES else TYPE_NAMES.get(data_type, "Float")


def _tensor(name: str, kind: str, sizes: dict[str, list[int]], formats: dict[str, str]) -> dict[str, Any]:
    return {
        "Name": name,
        "Dimensions": sizes.get(name, []),
        "Datatype": kind,
        "Format": formats.get(kind, f"Row major linear {kind} format"),
    }


def quantised(graph: Graph, tensor: str) -> str:
    """The quantised tensor behind a DequantizeLinear; empty where there is none."""
    node = graph.producer.get(tensor)
    return node.input[0] if node is not None and node.op_type == "DequantizeLinear" else ""


def _convolution(graph: Graph, node: onnx.NodeProto, sizes: dict[str, list[int]], weakly_fp32: bool) -> dict[str, Any]:
    """A convolution runs quantised only where its input and its weights both come from a DequantizeLinear."""
    inner = [quantised(graph, name) for name in node.input[:2]]
    runs_on = inner if all(inner) else list(node.input[:2])
    kind = _kind(graph, runs_on[0], weakly_fp32)
    bias = graph.weights.get(node.input[2]) if len(node.input) > 2 else None
    out_kind = "Float" if kind == "Float" else _kind(graph, node.output[0], weakly_fp32)
    weight = _weight_shape(graph, runs_on[1])
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    return {
        "Name": node.name,
        "LayerType": "CaskConvolution",
        "Inputs": [_tensor(runs_on[0], kind, sizes, _CHANNEL_MAJOR)],
        "Outputs": [_tensor(node.output[0], out_kind, sizes, _CHANNEL_MAJOR)],
        "ParameterType": "Convolution",
        "Kernel": weight[2:],
        "PaddingMode": "kEXPLICIT_ROUND_DOWN",
        "Stride": list(attributes.get("strides", [1] * len(weight[2:]))),
        "OutMaps": weight[0] if weight else 0,
        "Groups": attributes.get("group", 1),
        "Weights": {"Type": kind, "Count": _count(weight)},
        "Bias": {"Type": "Float" if kind == "Int8" else kind, "Count": _count(list(bias.dims)) if bias is not None else 0},
        "HasBias": int(bias is not None),
        "TacticName": f"simulated_{kind.lower()}_fprop",
        "TacticValue": "0x0000000000000000",
        "StreamId": 0,
        "Metadata": f"[ONNX Layer: {node.name}]",
    }


def _weight_shape(graph: Graph, name: str) -> list[int]:
    weight = graph.weights.get(name)
    if weight is None and name in graph.producer:
        return _weight_shape(graph, graph.producer[name].input[0])
    return list(weight.dims) if weight is not None else []


def _count(shape: list[int]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def _other(graph: Graph, node: onnx.NodeProto, sizes: dict[str, list[int]], weakly_fp32: bool) -> dict[str, Any]:
    """Everything else as TensorRT's graph compiler lists it: no weights, short type names.

    A matrix product runs quantised, as a convolution does, where both factors come from a DequantizeLinear.
    """
    inner = [quantised(graph, name) for name in node.input[:2]] if node.op_type in ("Gemm", "MatMul") else [""]
    given = inner if all(inner) else list(node.input)
    names = [name for name in given if name in sizes and name not in graph.weights]
    return {
        "Name": node.name,
        "LayerType": {"Gemm": "gemm", "MatMul": "gemm", "Cast": "Reformat"}.get(node.op_type, "kgen"),
        "Inputs": [_tensor(name, _kind(graph, name, weakly_fp32), sizes, _LINEAR) for name in names],
        "Outputs": [_tensor(name, _kind(graph, name, weakly_fp32), sizes, _LINEAR) for name in node.output],
        "TacticName": f"simulated_{node.op_type.lower()}",
        "StreamId": 0,
        "Metadata": f"[ONNX Layer: {node.name}]",
    }
