"""ONNX Runtime compiles for real; TensorRT's commands are built of what both of its versions know."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest

from services.builder.compilers import compiler_for, nvidia, onnxruntime
from services.builder.compilers.base import Profile
from services.builder.compilers.onnxruntime import OnnxRuntimeCompiler
from services.builder.compilers.speed import faster, speed
from services.builder.compilers.tensorrt import TensorRtCompiler, build_argv, plan_version_argv, profile_argv
from services.core import cpus
from services.core.errors import ContractError, ToolError
from services.core.record import Hardware
from services.core.settings import BuilderSettings

INPUTS = np.random.default_rng(3).standard_normal((8, 3, 8, 8)).astype(np.float32)


@pytest.fixture
def graph(make_classifier, tmp_path) -> Path:
    onnx.save(make_classifier(names=("input", "scores")), tmp_path / "graph.onnx")
    return tmp_path / "graph.onnx"


@pytest.fixture
def engine(graph, tmp_path):
    (tmp_path / "version").mkdir()
    return OnnxRuntimeCompiler().compile(graph, tmp_path / "version", Profile(2, 3))


def numpy_scores(graph: Path) -> np.ndarray:
    weights, bias = (onnx.numpy_helper.to_array(value) for value in onnx.load(graph).graph.initializer)
    return INPUTS.mean(axis=(2, 3)) @ weights + bias


def test_the_engine_stands_alone_and_computes_what_the_graph_does(graph, engine):
    expected = numpy_scores(graph)
    graph.unlink()
    compiler = OnnxRuntimeCompiler()
    np.testing.assert_allclose(compiler.run(engine, INPUTS), expected, rtol=1e-4, atol=1e-4)
    assert {path.name for path in engine.path.parent.iterdir()} == {"model.onnx"}
    for name, source in compiler.serving.code:
        compile(source.read_text(), name, "exec")


def test_the_engine_describes_itself_and_its_speed(engine, make_card, monkeypatch):
    monkeypatch.setattr(onnxruntime, "_ROUND_MS", 2)
    inspection = OnnxRuntimeCompiler().inspect(engine, INPUTS)
    card = make_card(pixels=False)
    assert (inspection.inputs, inspection.outputs, inspection.max_batch) == (card.inputs, card.outputs, 3)
    assert inspection.precisions is None
    assert inspection.speed.batch == 8
    assert inspection.speed.images_per_second == pytest.approx(8000 / inspection.speed.median_ms)


@pytest.mark.parametrize(("processors", "instances"), [(2, 1), (16, 2)])
def test_instances_are_by_the_processors_and_one_on_a_gpu(monkeypatch, processors, instances):
    monkeypatch.setattr(cpus, "find", lambda: cpus.Cpus(processors))
    assert OnnxRuntimeCompiler().instances() == instances
    assert TensorRtCompiler(BuilderSettings()).instances() == 1


def test_a_processor_has_no_server_to_ask_for_and_no_gpus():
    compiler = OnnxRuntimeCompiler()
    compiler.demand_server()
    assert compiler.like_devices() == ()


@pytest.mark.parametrize(
    ("rounds", "median", "spread"),
    [
        ([[10, 10, 10]], 10, 0),
        ([[10, 10, 500], [10, 10], [10]], 10, 0),
        ([[9], [10], [12], [10], [10]], 10, 0.15),
    ],
)
def test_the_spread_is_that_of_the_rounds_medians(rounds, median, spread):
    found = speed(4, rounds)
    assert (found.batch, found.median_ms, found.images_per_second) == (4, median, 4000 / median)
    assert found.spread == pytest.approx(spread)


def test_a_speed_is_faster_where_the_spreads_do_not_explain_it():
    slow, fast = (speed(1, [[ms * (1 - noise)], [ms], [ms * (1 + noise)]]) for ms, noise in ((12, 0.05), (10, 0.05)))
    near = speed(1, [[11.5 * 0.9], [11.5], [11.5 * 1.1]])
    assert faster(fast, slow)
    assert not faster(slow, fast)
    assert not faster(near, slow)
    assert not faster(slow, near)


def test_a_graph_that_cannot_be_compiled_is_a_tool_error(tmp_path):
    (tmp_path / "graph.onnx").write_bytes(b"no graph")
    with pytest.raises(ToolError, match="ONNX Runtime cannot compile"):
        OnnxRuntimeCompiler().compile(tmp_path / "graph.onnx", tmp_path, Profile(1, 1))


def test_the_accelerator_chooses_the_compiler():
    assert isinstance(compiler_for(BuilderSettings(accelerator="onnxruntime")), OnnxRuntimeCompiler)
    assert isinstance(compiler_for(BuilderSettings()), TensorRtCompiler)


@pytest.mark.parametrize(("version", "typed"), [("10.16.0.72", True), ("11.2.1.2", False)])
def test_only_tensorrt_10_is_told_to_keep_the_graphs_types(version, typed):
    argv = build_argv("trtexec", Path("g.onnx"), Path("g.plan"), Path("t.cache"), "images", (8, 8, 3), Profile(4, 16), 512, version)
    assert argv[:3] == ["trtexec", "--onnx=g.onnx", "--saveEngine=g.plan"]
    assert {"--minShapes=images:1x8x8x3", "--optShapes=images:4x8x8x3", "--maxShapes=images:16x8x8x3"} <= set(argv)
    assert {"--memPoolSize=workspace:512", "--timingCacheFile=t.cache", "--profilingVerbosity=detailed", "--skipInference"} <= set(argv)
    assert ("--stronglyTyped" in argv) is typed
    assert not {"--fp16", "--int8", "--best", "--explicitBatch"} & set(argv)


def test_the_plan_is_loaded_for_its_layers_and_for_its_version():
    plan = Path("g.plan")
    argv = profile_argv("trtexec", plan, "images:8x8x8x3", Path("times.json"), Path("layers.json"))
    assert {"--loadEngine=g.plan", "--shapes=images:8x8x8x3", "--exportTimes=times.json", "--exportLayerInfo=layers.json"} <= set(argv)
    assert plan_version_argv("trtexec", plan) == ["trtexec", "--getPlanVersionOnly", "--loadEngine=g.plan"]


L4, T4 = ("NVIDIA L4, 8.9, 580.95.05", "Tesla T4, 7.5, 580.95.05")


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """An nvidia-smi that prints these rows."""

    def install(*rows: str) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text("#!/bin/sh\n" + "".join(f"echo '{row}'\n" for row in rows))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    return install


@pytest.mark.parametrize(
    ("rows", "alike"),
    [((L4,), ()), ((L4, L4), ()), ((T4, L4), (0,)), ((L4, T4, L4), (0, 2))],
)
def test_the_first_gpu_on_the_bus_is_built_for_and_those_like_it_are_named(nvidia_smi, monkeypatch, rows, alike):
    nvidia_smi(*rows)
    monkeypatch.setenv("TRT_VERSION", "11.2.1.2")
    compiler = TensorRtCompiler(BuilderSettings())
    name, capability, driver = rows[0].split(", ")
    assert compiler.identity()[1] == Hardware(device=name, compute_capability=capability, driver=driver)
    assert compiler.like_devices() == alike


@pytest.mark.parametrize("rows", [(), ("No devices were found",), (L4, "[Unknown Error]"), ("NVIDIA L4, [N/A], 580.95.05",)])
def test_a_machine_without_a_gpu_is_said_as_such(nvidia_smi, rows):
    nvidia_smi(*rows)
    with pytest.raises(ToolError, match="no GPU is visible"):
        nvidia.gpus()


def test_a_version_of_tensorrt_that_is_none_is_named(monkeypatch):
    monkeypatch.setenv("TRT_VERSION", "latest")
    with pytest.raises(ToolError, match="TRT_VERSION=latest: expected a version"):
        nvidia.tensorrt_version()


@pytest.mark.parametrize(
    ("server", "release", "good"),
    [("", "26.08", True), ("", "26.07", False), ("", "26.09", True), ("11.2.1.2", "26.07", True), ("11.1.0.106", "26.08", False)],
)
def test_the_servers_tensorrt_is_asked_for_before_anything_is_made(nvidia_smi, monkeypatch, server, release, good):
    nvidia_smi(L4)
    monkeypatch.setenv("TRT_VERSION", "11.2.1.2+cuda13.4")
    compiler = TensorRtCompiler(BuilderSettings(server_tensorrt=server, ngc_release=release))
    if good:
        compiler.demand_server()
    else:
        with pytest.raises(ContractError, match=r"this builder has TensorRT 11\.2\.1\.2, the server .* has 11\.1\.0\.106"):
            compiler.demand_server()
