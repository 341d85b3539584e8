"""Which matrix operations are worth 8 bits on a GPU: those that TensorRT has kernels for, and fast ones.

A strongly typed engine has no other precision to fall back to: what is quantised without a kernel fails to build, or is slow. The
rules for channels, groups, kernels and products are those of NVIDIA's ModelOpt (modelopt/onnx/quantization/graph_utils.py:
find_nodes_from_convs_to_exclude, find_nodes_from_matmul_to_exclude); that FP8 takes no groups, and no stem, is from the known
issues in TensorRT 10.16's release notes.
"""

from math import prod

import onnx
from onnx import NodeProto, TensorProto, helper

from services.builder.precision.graph import Graph
from services.builder.precision.half import fp32_ends

_LEAST_CHANNELS = 16
_LEAST_SIDE = 16
_FP8_KERNEL = 32


def weighted(graph: Graph) -> list[NodeProto]:
    """Matrix operations with constant weights; the products inside attention have none, they fuse into one kernel as they are."""
    return [node for node in graph.model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul") and node.input[1] in graph.initializers]


def targets(graph: Graph, kind: int) -> list[NodeProto]:
    """Those of them to quantise.

    Args:
        graph: the FP32 graph.
        kind: ``TensorProto.INT8`` or ``TensorProto.FLOAT8E4M3FN``.
    """
    ends, shapes = fp32_ends(graph), _shapes_of_one_picture(graph.model)

    def worth(node: NodeProto) -> bool:
        weights = [*graph.initializers[node.input[1]].dims]
        if node.op_type != "Conv":
            return _product(weights, shapes.get(node.input[0], [0, 0]))
        maker = graph.producer.get(node.input[0])
        groups = next((helper.get_attribute_value(attribute) for attribute in node.attribute if attribute.name == "group"), 1)
        return _convolution(weights, groups, kind, stem=maker is None or maker.name in ends)

    return [node for node in weighted(graph) if worth(node)]


def _convolution(weights: list[int], groups: int, kind: int, *, stem: bool) -> bool:
    """Whether a convolution with ``weights`` [out, in per group, *kernel] is fast in 8 bits."""
    out, in_per_group, *kernel = weights
    if kind == TensorProto.FLOAT8E4M3FN:
        return groups == 1 and not stem and min(out, in_per_group) > _LEAST_CHANNELS and prod(kernel) <= _FP8_KERNEL
    if min(out, in_per_group) >= _LEAST_CHANNELS:
        return True
    if groups > 1:
        return out % 8 == 0 and min(kernel) >= 3
    aligned = out % 8 == 0 or in_per_group % 8 == 0
    return aligned and (stem or max(out, in_per_group) >= _LEAST_CHANNELS) and len(set(kernel)) == 1


def _product(weights: list[int], rows: list[int]) -> bool:
    """Tensor cores want a matrix on both sides: more than one row for one picture, and 16 columns and terms or more."""
    return min(weights) >= _LEAST_SIDE and prod(rows[:-1]) != 1


def _shapes_of_one_picture(model: onnx.ModelProto) -> dict[str, list[int]]:
    """Shapes of the tensors for a batch of one, by name; 0 stands for an unknown dimension, and what has no known rank is missing."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    for value in probe.graph.output:
        value.type.tensor_type.ClearField("shape")
    del probe.graph.value_info[:]
    inferred = onnx.shape_inference.infer_shapes(probe, data_prop=True).graph
    values = [value for value in inferred.value_info if value.type.tensor_type.HasField("shape")]
    return {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values}
