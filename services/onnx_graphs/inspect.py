"""What can be read off an ONNX model without running it."""

import onnx


def opset_of(model: onnx.ModelProto) -> int:
    """Version of the standard operators."""
    return next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


def control_flow(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes that hold graphs of their own (If, Loop, Scan); these read tensors of the outer graph unseen."""
    kinds = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
    return [node for node in model.graph.node if any(attribute.type in kinds for attribute in node.attribute)]


def shape_of(value: onnx.ValueInfoProto) -> list[int | str]:
    """The dimensions of an input or output: a size, a name, or ``?``."""
    return [dim.dim_value or dim.dim_param or "?" for dim in value.type.tensor_type.shape.dim]
