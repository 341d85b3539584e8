"""ONNX Runtime on the GPU: right for every batch, and what is published says where it runs."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from onnx import TensorProto, helper, numpy_helper
from tritonclient.grpc import model_config_pb2 as pb

from services.core.record import BuildRecord
from services.onnx_graphs.cuda_runner import CudaRunner
from services.onnx_graphs.session import graph_runner
from tests.local.stack import Stack


def saved(nodes: list[onnx.NodeProto], shape: list[int | str], scores: list[int | str], path: Path, **constants: np.ndarray) -> Path:
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, scores)],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
    return path


@pytest.fixture
def depthwise(tmp_path):
    """A depthwise convolution, whose kernels cuDNN compiles for each shape."""
    nodes = [
        helper.make_node("Conv", ["images", "kernel"], ["found"], group=16, pads=[2, 2, 2, 2], kernel_shape=[5, 5]),
        helper.make_node("Relu", ["found"], ["relu"]),
        helper.make_node("ReduceMean", ["relu", "axes"], ["scores"], keepdims=0),
    ]
    kernel = np.random.default_rng(0).normal(size=(16, 1, 5, 5))
    path = saved(nodes, ["N", 16, 20, 20], ["N", 16], tmp_path / "depthwise.onnx", kernel=kernel)
    model = onnx.load(path)
    model.graph.initializer.append(numpy_helper.from_array(np.array([2, 3], np.int64), "axes"))
    onnx.save(model, str(path))
    return path


def test_every_batch_has_the_answers_of_the_cpu(depthwise):
    runner, expected = CudaRunner(depthwise, max_batch=12), graph_runner(depthwise)
    assert runner.captured
    for count in [*range(1, 13), *range(12, 0, -1)]:
        images = np.random.default_rng(count).normal(size=(count, 16, 20, 20)).astype(np.float32)
        np.testing.assert_allclose(runner(images), expected(images), atol=5e-3)


def test_a_graph_with_a_part_on_the_cpu_runs_without_cuda_graphs(tmp_path):
    path = saved([helper.make_node("Det", ["images"], ["scores"])], ["N", 3, 3], ["N"], tmp_path / "determinant.onnx")
    images = np.random.default_rng(0).normal(size=(5, 3, 3)).astype(np.float32)
    runner = CudaRunner(path, max_batch=8)
    assert not runner.captured
    assert runner.problem
    np.testing.assert_allclose(runner(images), np.linalg.det(images), atol=1e-4)


def test_what_is_published_is_fp16_on_the_gpu(lite0: Stack):
    config = text_format.Parse((lite0.model_folder / "config.pbtxt").read_text(), pb.ModelConfig())
    assert [group.kind for group in config.instance_group] == [pb.ModelInstanceGroup.KIND_GPU]
    record = BuildRecord.load(lite0.model_folder / str(lite0.live_version()) / "build.json")
    assert (record.precision, record.compiler.name) == ("fp16", "onnxruntime-gpu")
    assert record.hardware.compute_capability
    assert not any("CUDA graphs" in note for note in record.notes)


def test_auto_chooses_between_fp32_and_fp16(tiny: Stack):
    said = tiny.run("builder", PRECISION="auto").stderr
    assert "auto leaves bf16 out: ONNX Runtime is not fast in bf16 on a GPU" in said
    assert "auto: fp32" in said
    assert "auto: fp16" in said
