"""NVIDIA's own compiler takes every graph this stack can make: models x precisions x both kinds of input.

TensorRT-RTX parses and builds with TensorRT's parser and without a GPU. It proves parse, types and engine, not speed. Redundant and
left out: the inputs differ only before the first matrix operation, so two models are compiled in every precision with both, the others
with FP32 input in fp32 only.
"""

import os
import subprocess
import sys

import numpy as np
import onnx
import pytest

from services.builder.precision import lower, obstacle
from services.core.errors import SettingsError
from services.exporter.graph import with_pixel_input, with_probabilities

rtx = pytest.importorskip("tests.contract.rtx")
pytest.importorskip("torch", reason="pip install torch torchvision: the exporter")

BOTH_INPUTS = ("resnet50", "efficientnet_lite0")
ONE_INPUT = ("efficientnet_b0", "mobilenet_v3_large", "convnext_tiny", "vit_b_16", "swin_t")
PRECISIONS = ("fp32", "fp16", "bf16", "int8", "fp8")
CELLS = [
    (model, precision, kind)
    for model in (*BOTH_INPUTS, *ONE_INPUT)
    for precision in PRECISIONS
    for kind in ("uint8", "float32")
    if kind == "uint8" or model in BOTH_INPUTS or precision == "fp32"
]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """Every model as the real exporter writes it, once: with FP32 input and logits; the exporter's own edits make the pixel graphs."""
    folder = tmp_path_factory.mktemp("exports")

    def export(model, kind):
        graph = folder / model / f"{kind}.onnx"
        if not graph.exists():
            plain = folder / model / "model.onnx"
            if not plain.exists():
                weights = "default" if model == "efficientnet_lite0" else "random"
                settings = {"MODEL": model, "WEIGHTS": weights, "INPUT": "float32", "SCORES": "logits", "ARTIFACTS_DIR": str(folder)}
                settings |= {"GOLDEN_COUNT": "1", "MODEL_NAME": ""}
                subprocess.run([sys.executable, "-m", "services.exporter"], env=os.environ | settings, check=True, timeout=300)
            if kind == "float32":
                return plain
            onnx.save(with_probabilities(with_pixel_input(onnx.load(str(plain)), MEAN, STD)), str(graph))
        return graph

    return export


def _inputs(kind):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    return pixels if kind == "uint8" else np.ascontiguousarray(pixels.transpose(0, 3, 1, 2) / np.float32(64) - 2)


@pytest.mark.parametrize(("model", "precision", "kind"), CELLS, ids=["-".join(cell) for cell in CELLS])
def test_nvidias_compiler_takes_the_graph(model, precision, kind, exported, tmp_path):
    graph = tmp_path / "lowered.onnx"
    notes = lower(exported(model, kind), graph, precision, "tensorrt", _inputs(kind)).notes

    compiled = rtx.compile_graph(graph, "SM89")

    assert not compiled.errors
    name, dtype, shape = ("images", "UINT8", (-1, 224, 224, 3)) if kind == "uint8" else ("input", "FLOAT", (-1, 3, 224, 224))
    assert compiled.tensors == {name: (dtype, shape), "scores": ("FLOAT", (-1, 1000))}
    _asked_precision(rtx.matrix_types(graph), precision, some_fp32=any("stay FP32" in note for note in notes))
    onnx.checker.check_model(str(graph), full_check=True)


def _asked_precision(counts, precision, *, some_fp32):
    """The parsed network has no matrix layer in FP32 unless it was asked for or announced, and quantises where it should."""
    matrices = {dtype: number for (layer, dtype), number in counts.items() if layer != "QUANTIZE"}
    assert {{"fp32": "FLOAT", "bf16": "BF16"}.get(precision, "HALF")} == set(matrices) - ({"FLOAT"} if some_fp32 else set())
    quantised = {"int8": {"INT8"}, "fp8": {"FP8"}}.get(precision, set())
    assert {dtype for (layer, dtype) in counts if layer == "QUANTIZE"} == quantised


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_gpu_generation_takes_the_precisions_it_is_said_to_support(precision, exported, tmp_path):
    graph = tmp_path / "lowered.onnx"
    lower(exported("mobilenet_v3_large", "uint8"), graph, precision, "tensorrt", _inputs("uint8"))
    able = [number for number in (75, 80, 86, 89, 120) if not obstacle(precision, "tensorrt", divmod(number, 10))]
    assert able
    refusals = {number: errors for number in able if (errors := rtx.compile_graph(graph, f"SM{number}").errors)}
    # A limit of TensorRT-RTX, the stand-in here, so `obstacle` does not refuse it: TensorRT itself is the compiler that ships.
    assert set(refusals) == ({75} if precision == "fp32" else set()), refusals
    assert all("FP32 GEMM is not supported" in error for errors in refusals.values() for error in errors), refusals


@pytest.mark.parametrize("precision", ["fp16", "bf16", "fp8"])
def test_what_onnx_runtime_cannot_compute_is_refused_before_anything_is_read(precision, tmp_path):
    with pytest.raises(SettingsError, match=f"PRECISION={precision}.*ONNX Runtime"):
        lower(tmp_path / "absent.onnx", tmp_path / "out.onnx", precision, "onnxruntime", np.empty(0))
