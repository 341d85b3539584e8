"""Code is not hashed into an engine's fingerprint: a change of what the passes write has to raise ``REVISION``.

The small graph is made of whole numbers and powers of two, so that its value ranges are the same to the last bit on every processor.
"""

import hashlib

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from services.builder.precision import PRECISIONS, REVISION, lower

PINNED = {
    2: {
        ("fp32", "tensorrt"): "a6aca1a85e209ac4",
        ("fp32", "onnxruntime"): "a6aca1a85e209ac4",
        ("fp32", "onnxruntime-gpu"): "a6aca1a85e209ac4",
        ("fp16", "tensorrt"): "3f151d6c18755fc2",
        ("fp16", "onnxruntime-gpu"): "3f151d6c18755fc2",
        ("bf16", "tensorrt"): "770e3d68da10b7bb",
        ("int8", "tensorrt"): "800babc20b34bb9c",
        ("int8", "onnxruntime"): "a87bd2f8ed060596",
        ("fp8", "tensorrt"): "c77de6f0cdc6675b",
    }
}
CELLS = [(spec.name, accelerator) for spec in PRECISIONS.values() for accelerator in spec.accelerators]


def whole(name: str, *shape: int) -> TensorProto:
    values = np.random.default_rng(len(name)).integers(-2, 3, shape)
    return numpy_helper.from_array(values.astype(np.float32), name)


@pytest.fixture
def network(tmp_path):
    """Pixels; a stem; a residual block; its positions as tokens through a product; the mean of them to 4 probabilities."""
    nodes = [
        helper.make_node("Cast", ["images"], ["fp32"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["fp32", "mean"], ["centred"]),
        helper.make_node("Transpose", ["centred"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["nchw", "stem_w"], ["stem"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["stem"], ["relu"]),
        helper.make_node("Conv", ["relu", "block_w"], ["block"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["block", "relu"], ["sum"]),
        helper.make_node("Reshape", ["sum", "flat"], ["columns"]),
        helper.make_node("Transpose", ["columns"], ["tokens"], perm=[0, 2, 1]),
        helper.make_node("Mul", ["tokens", "small"], ["scaled"]),
        helper.make_node("MatMul", ["scaled", "token_w"], ["product"]),
        helper.make_node("ReduceMean", ["product"], ["pool"], axes=[1], keepdims=0),
        helper.make_node("Gemm", ["pool", "fc_w"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
    ]
    constants = [
        numpy_helper.from_array(np.array(128, np.float32), "mean"),
        numpy_helper.from_array(np.array(2**-16, np.float32), "small"),
        numpy_helper.from_array(np.array([0, 32, 16], np.int64), "flat"),
        whole("stem_w", 32, 3, 3, 3),
        whole("block_w", 32, 32, 3, 3),
        whole("token_w", 32, 32),
        whole("fc_w", 32, 4),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 4, 4, 3])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 4])
    graph = helper.make_graph(nodes, "net", [images], [scores], constants)
    path = tmp_path / "fp32.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


@pytest.mark.parametrize(("precision", "accelerator"), CELLS)
def test_the_lowered_graph_is_that_of_its_revision(network, precision, accelerator, tmp_path):
    pixels = np.random.default_rng(1).integers(126, 131, (8, 4, 4, 3), dtype=np.uint8)
    lower(network, tmp_path / "out.onnx", precision, accelerator, pixels)
    graph = onnx.load(str(tmp_path / "out.onnx")).graph
    found = hashlib.sha256(graph.SerializeToString(deterministic=True)).hexdigest()[:16]
    expected = PINNED.get(REVISION, {}).get((precision, accelerator), "nothing")
    assert found == expected, f"behaviour changed? raise REVISION in services/builder/precision/spec.py, and pin {found} for it here"
