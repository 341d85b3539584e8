import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto as T

from tests.conftest import ROOT
from tests.contract.simulator.simulated import SHAPES, Trtexec, classifier, quantised

V10, V11, V112 = "10.16.1.11", "11.1.0.106", "11.2.1.2"


@pytest.mark.parametrize("version", [V11, V112])
@pytest.mark.parametrize("flag", ["--fp16", "--bf16", "--int8", "--fp8", "--best"])
def test_11_refuses_precision_flags(trtexec: Trtexec, onnx_file: Path, monkeypatch: pytest.MonkeyPatch, version: str, flag: str) -> None:
    monkeypatch.setenv("SIMULATOR_TENSORRT", version)
    result = trtexec(f"--onnx={onnx_file}", flag)
    assert result.code == 1
    assert f"[E] Unknown option: {flag}" in result.err
    assert "&&&& PASSED" not in result.out


@pytest.mark.parametrize("flag", ["--explicitBatch", "--workspace=64", "--buildOnly", "--nosuch"])
def test_no_version_has_long_gone_flags(trtexec: Trtexec, onnx_file: Path, monkeypatch: pytest.MonkeyPatch, flag: str) -> None:
    for version in (V10, V11, V112):
        monkeypatch.setenv("SIMULATOR_TENSORRT", version)
        result = trtexec(f"--onnx={onnx_file}", flag)
        assert (result.code, "Unknown option" in result.err) == (1, True)
        # 10 closes the frame after a bad command line; 11 leaves it open.
        assert ("&&&& FAILED" in result.out) == (version == V10)


def test_10_takes_a_precision_flag(trtexec: Trtexec, onnx_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMULATOR_TENSORRT", V10)
    assert trtexec(f"--onnx={onnx_file}", *SHAPES, "--fp16", "--skipInference").code == 0


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--iterations=many", "stoi"),
        ("--memPoolSize=workspace:4X", "invalid unit specifier"),
        ("--memPoolSize=heap:4", "Unknown memory pool: heap"),
        ("--profilingVerbosity=loud", "Unknown profilingVerbosity: loud"),
        ("--percentile=101", "is not in [0,100]"),
        ("--minShapes=images:1xax3", "conversion failure"),
        ("--inputIOFormats=fp16:chw", "Invalid TensorFormat fp16:chw"),
        ("--hardwareCompatibilityLevel=turing", "Unknown hardwareCompatibilityLevel"),
    ],
)
def test_a_bad_value_is_refused(trtexec: Trtexec, onnx_file: Path, argument: str, message: str) -> None:
    result = trtexec(f"--onnx={onnx_file}", argument)
    assert result.code == 1
    assert message in result.err


def test_options_that_exclude_each_other(trtexec: Trtexec, onnx_file: Path) -> None:
    assert "Incompatible load and save" in trtexec(f"--onnx={onnx_file}", "--saveEngine=a", "--loadEngine=b").err
    assert "Multiple --minShapes" in trtexec(f"--onnx={onnx_file}", SHAPES[0], SHAPES[0]).err
    assert "Model missing or format not recognized" in trtexec("--skipInference").err


def test_help_names_the_four_part_version(trtexec: Trtexec) -> None:
    result = trtexec("--help")
    assert result.code == 0
    assert "&&&& RUNNING TensorRT.trtexec [TensorRT v110100] [b106]" in result.out


def test_profile_is_checked_against_the_graph(trtexec: Trtexec, onnx_file: Path) -> None:
    unknown = trtexec(f"--onnx={onnx_file}", "--minShapes=pictures:1x8x8x3")
    assert unknown.code == 1
    assert 'Cannot find input tensor with name "pictures"' in unknown.err
    wrong_order = trtexec(f"--onnx={onnx_file}", "--minShapes=images:4x8x8x3", "--optShapes=images:2x8x8x3", "--maxShapes=images:4x8x8x3")
    assert "Required optimization profile is invalid" in wrong_order.err
    static = trtexec(f"--onnx={onnx_file}", "--optShapes=images:1x9x9x3", "--skipInference")
    assert static.code == 1
    assert "expected min=opt=max=8" in static.err
    missing = trtexec(f"--onnx={onnx_file}", "--skipInference")
    assert "Automatically overriding shape to: 1x8x8x3" in missing.err


def test_plan_tells_its_version_and_loads_where_it_belongs(trtexec: Trtexec, plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Plan was created with TensorRT version 11.1.0.106" in trtexec("--getPlanVersionOnly", f"--loadEngine={plan}").out
    assert trtexec(f"--loadEngine={plan}").code == 0
    monkeypatch.setenv("SIMULATOR_GPU", "NVIDIA T4|7.5|580.95.05")
    other_gpu = trtexec(f"--loadEngine={plan}")
    assert (other_gpu.code, "expecting compute 7.5 got compute 8.9" in other_gpu.err) == (1, True)
    monkeypatch.setenv("SIMULATOR_GPU", "NVIDIA GeForce RTX 4090|8.9|580.95.05")
    assert "different models of devices" in trtexec(f"--loadEngine={plan}").err
    monkeypatch.setenv("SIMULATOR_TENSORRT", V112)
    other = trtexec(f"--loadEngine={plan}")
    assert (other.code, "expecting library version 11.2.1.2 got 11.1.0.106" in other.err) == (1, True)
    # The version can be read with any TensorRT.
    assert "TensorRT version 11.1.0.106" in trtexec("--getPlanVersionOnly", f"--loadEngine={plan}").out


@pytest.mark.parametrize("content", [b"", b"no plan at all, but long enough for a head"])
def test_what_is_no_plan(trtexec: Trtexec, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.plan"
    path.write_bytes(content)
    assert trtexec(f"--loadEngine={path}").code == 1
    assert "Failed to get plan file version." in trtexec("--getPlanVersionOnly", f"--loadEngine={path}").err


def test_every_truncation_of_a_plan_is_noticed(plan: Path) -> None:
    from simulator.machine import Machine
    from simulator.plan import DeserializationError, Plan

    whole = plan.read_bytes()
    for length in range(0, len(whole), 97):
        with pytest.raises(DeserializationError):
            Plan.load(whole[:length], Machine.from_env())


def test_engine_answers_as_the_graph_does(trtexec: Trtexec, plan: Path, onnx_file: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (3, 8, 8, 3)).astype(np.uint8)
    pixels.tofile(tmp_path / "in.bin")
    times, found, shape = tmp_path / "times.json", tmp_path / "out.json", "--shapes=images:3x8x8x3"
    result = trtexec(
        f"--loadEngine={plan}", shape, f"--loadInputs=images:{tmp_path / 'in.bin'}", f"--exportTimes={times}", f"--exportOutput={found}"
    )
    assert result.code == 0
    assert "=== Performance summary ===" in result.out
    expected = onnxruntime.InferenceSession(onnx_file).run(None, {"images": pixels})[0]
    output = json.loads(found.read_text())[0]
    assert output["dimensions"] == "3x4"
    np.testing.assert_allclose(np.reshape(output["values"], (3, 4)), expected, rtol=1e-5)
    assert {"latencyMs", "computeMs", "startEnqMs"} <= json.loads(times.read_text())[0].keys()
    too_many = trtexec(f"--loadEngine={plan}", "--shapes=images:5x8x8x3")
    assert (too_many.code, "Supported range is [1, 8, 8, 3] to [4, 8, 8, 3]" in too_many.err) == (1, True)
    wrong_size = trtexec(f"--loadEngine={plan}", "--shapes=images:2x8x8x3", f"--loadInputs=images:{tmp_path / 'in.bin'}")
    assert (wrong_size.code, "Unexpected file size" in wrong_size.err) == (1, True)


def layers_of(trtexec: Trtexec, plan: Path, *more: str) -> dict:
    path = plan.with_suffix(".json")
    assert trtexec(f"--loadEngine={plan}", f"--exportLayerInfo={path}", *more).code == 0
    return json.loads(path.read_text())


def test_layer_information_of_11_and_10(trtexec: Trtexec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, plan = tmp_path / "half.onnx", tmp_path / "half.plan"
    onnx.save(classifier(T.FLOAT16), graph)
    build = (f"--onnx={graph}", *SHAPES, f"--saveEngine={plan}", "--skipInference", "--profilingVerbosity=detailed")
    assert trtexec(*build).code == 0
    found = layers_of(trtexec, plan)
    conv = next(layer for layer in found["Layers"] if layer["LayerType"] == "CaskConvolution")
    assert (conv["Weights"]["Type"], conv["Inputs"][0]["Datatype"], conv["Inputs"][0]["Dimensions"][0]) == ("Half", "Half", 2)
    assert found["I/O Tensors"][0]["ProfileInfo"][0]["MaxShape"] == [4, 8, 8, 3]
    # Without an execution context the real inspector does not know the formats of dynamic tensors.
    hidden = next(layer for layer in layers_of(trtexec, plan, "--skipInference")["Layers"] if layer["LayerType"] == "CaskConvolution")
    assert (hidden["Weights"]["Type"], hidden["Inputs"][0]["Format"]) == ("Half", "N/A due to dynamic shapes")
    monkeypatch.setenv("SIMULATOR_TENSORRT", V10)
    for typed, kind in (("--stronglyTyped", "Half"), ("--noTF32", "Float")):
        assert trtexec(*build, typed).code == 0
        found = layers_of(trtexec, plan)
        conv = next(layer for layer in found["Layers"] if layer["LayerType"] == "CaskConvolution")
        assert conv["Weights"]["Type"] == kind
        assert ("FP16" in conv["Inputs"][0]["Format/Datatype"]) == (kind == "Half")
        assert found["Bindings"] == ["images", "scores"]


def test_quantised_graph_needs_strong_typing_or_a_flag_in_10(trtexec: Trtexec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, plan = tmp_path / "q.onnx", tmp_path / "q.plan"
    onnx.save(quantised(), graph)
    build = (f"--onnx={graph}", "--optShapes=x:1x3x8x8", f"--saveEngine={plan}", "--profilingVerbosity=detailed")
    assert trtexec(*build).code == 0
    assert [layer["Weights"]["Type"] for layer in layers_of(trtexec, plan)["Layers"]] == ["Int8"]
    monkeypatch.setenv("SIMULATOR_TENSORRT", V10)
    refused = trtexec(*build)
    assert (refused.code, "int8 is not configured in the builder" in refused.err) == (1, True)
    assert trtexec(*build, "--stronglyTyped").code == 0


def test_timing_cache_is_bound_to_version_and_gpu(
    trtexec: Trtexec, onnx_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "t.cache"
    build = (f"--onnx={onnx_file}", *SHAPES, f"--timingCacheFile={cache}", "--skipInference")
    assert "A new cache will be generated" in trtexec(*build).err
    assert "of cache from file" in trtexec(*build).out
    assert trtexec(*build, "--errorOnTimingCacheMiss").code == 0
    written = cache.read_bytes()
    monkeypatch.setenv("SIMULATOR_TENSORRT", V112)
    foreign = trtexec(*build)
    assert (foreign.code, "The timing cache will not be used!" in foreign.err) == (0, True)
    assert cache.read_bytes() == written
    cache.write_bytes(b"broken")
    assert "Magic tag does not match" in trtexec(*build).err


def test_a_failed_compilation_leaves_an_empty_plan_and_may_pass(trtexec: Trtexec, onnx_file: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("SIMULATOR_MISBEHAVE", "out-of-memory")
    plan = tmp_path / "x.plan"
    build = (f"--onnx={onnx_file}", *SHAPES, f"--saveEngine={plan}")
    quiet = trtexec(*build, "--skipInference")
    assert (quiet.code, plan.read_bytes(), "OutOfMemory" in quiet.err) == (0, b"", True)
    assert trtexec(*build).code == 1


def test_misbehaviour_that_returns(trtexec: Trtexec, onnx_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = tmp_path / "x.plan"
    build = (f"--onnx={onnx_file}", *SHAPES, f"--saveEngine={plan}", "--skipInference", "--profilingVerbosity=detailed")
    monkeypatch.setenv("SIMULATOR_MISBEHAVE", "half-write")
    assert trtexec(*build).code == 1
    truncated = plan.stat().st_size
    monkeypatch.setenv("SIMULATOR_MISBEHAVE", "wrong-version")
    assert trtexec(*build).code == 0
    assert 0 < truncated < plan.stat().st_size
    assert "TensorRT version 10.16.1.11" in trtexec("--getPlanVersionOnly", f"--loadEngine={plan}").out
    monkeypatch.setenv("SIMULATOR_MISBEHAVE", "silent-fp32")
    onnx.save(classifier(T.FLOAT16), onnx_file)
    assert trtexec(*build).code == 0
    conv = next(layer for layer in layers_of(trtexec, plan)["Layers"] if layer["LayerType"] == "CaskConvolution")
    assert (conv["Weights"]["Type"], conv["Inputs"][0]["Datatype"]) == ("Float", "Float")


def test_wrong_answers_are_wrong_once_and_for_all(trtexec: Trtexec, plan: Path, onnx_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from simulator.engine import Engine
    from simulator.machine import Machine
    from simulator.misbehave import wrong_answers
    from simulator.plan import Plan

    pixels = {"images": np.random.default_rng(1).integers(0, 255, (2, 8, 8, 3)).astype(np.uint8)}
    right = Engine(Plan.read(plan, Machine.from_env())).run(pixels)["scores"]
    monkeypatch.setenv("SIMULATOR_MISBEHAVE", "wrong-answers")
    build = (f"--onnx={onnx_file}", *SHAPES, f"--saveEngine={plan}", "--skipInference")
    assert trtexec(*build).code == 0
    found = Plan.read(plan, Machine.from_env())
    np.testing.assert_array_equal(Engine(found).run(pixels)["scores"], right[:, ::-1])
    assert wrong_answers(found.onnx) == found.onnx
    monkeypatch.setenv("SIMULATOR_MISBEHAVE", "served-wrong-answers")
    assert trtexec(*build).code == 0
    planted = Plan.read(plan, Machine.from_env())
    np.testing.assert_array_equal(Engine(planted).run(pixels)["scores"], right)
    assert planted.trouble == "wrong-answers"


def test_crash_and_hang(onnx_file: Path, tmp_path: Path) -> None:
    plan = tmp_path / "x.plan"
    command = [sys.executable, "-m", "simulator.trtexec", f"--onnx={onnx_file}", *SHAPES, f"--saveEngine={plan}", "--skipInference"]
    environment = os.environ | {"SIMULATOR_MISBEHAVE": "crash"}
    assert subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, check=False).returncode == -signal.SIGSEGV
    assert plan.stat().st_size > 0
    plan.unlink()
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(command, env=environment | {"SIMULATOR_MISBEHAVE": "hang"}, cwd=ROOT, capture_output=True, check=False, timeout=2)
    assert not plan.exists()
