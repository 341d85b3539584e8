"""NVIDIA's own compiler takes every graph this stack can make: models x precisions x both kinds of input.

TensorRT-RTX parses and builds with TensorRT's parser and without a GPU. It proves parse, types and engine, not speed. Redundant and
left out: the inputs differ only before the first matrix operation, so one model is compiled in every precision with both, the others
with FP32 input in fp32 only; and a block looks like the next one, so the other models are small (small_models.py).
"""

import functools
import json
import os
import subprocess
import sys

import numpy as np
import onnx
import pytest

from services.builder.precision import lower, obstacle
from services.core.errors import SettingsError
from services.exporter.graph import with_pixel_input, with_softmax
from tests.conftest import ROOT

rtx = pytest.importorskip("tests.contract.rtx")
pytest.importorskip("torch", reason="pip install torch torchvision: the exporter")

WHOLE, SMALL = "efficientnet_lite0", ("resnet", "efficientnet", "mobilenet", "convnext", "vit", "swin")
BOTH_INPUTS = "resnet"
SIDES = {WHOLE: 224} | dict.fromkeys(SMALL, 112)
PRECISIONS = ("fp32", "fp16", "bf16", "int8", "fp8")
CELLS = [
    (model, precision, kind)
    for model in SIDES
    for precision in PRECISIONS
    for kind in ("uint8", "float32")
    if kind == "uint8" or model == BOTH_INPUTS or precision == "fp32"
]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Importing PyTorch takes longer than an export: one process makes them all.
EXPORT_ALL = """
import json, os, sys
from services.exporter.__main__ import main
for settings in json.loads(sys.argv[1]):
    os.environ.update(settings)
    try:
        main([])
    except SystemExit as end:
        assert not end.code, settings
"""


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """Every model as the real exporter writes it: with FP32 input and logits; the exporter's own edits make the pixel graphs."""
    folder = tmp_path_factory.mktemp("exports")
    same = {"INPUT": "float32", "SCORES": "logits", "ARTIFACTS_DIR": str(folder), "GOLDEN_COUNT": "1", "WEIGHTS": "default"}
    factories = {model: f"py:tests.contract.small_models:{model}" for model in SMALL}
    jobs = [same | {"MODEL": factory, "MODEL_NAME": model, "RESIZE": "112", "CROP": "112"} for model, factory in factories.items()]
    jobs.append(same | {"MODEL": WHOLE, "MODEL_NAME": WHOLE, "RESIZE": "", "CROP": ""})
    subprocess.run(
        [sys.executable, "-c", EXPORT_ALL, json.dumps(jobs)], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, timeout=300
    )

    def export(model, kind):
        plain, pixels = folder / model / "model.onnx", folder / model / "pixels.onnx"
        if kind == "float32":
            return plain
        if not pixels.exists():
            onnx.save(with_softmax(with_pixel_input(onnx.load(str(plain)), MEAN, STD)), str(pixels))
        return pixels

    return export


def _inputs(kind, side):
    pixels = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    return pixels if kind == "uint8" else np.ascontiguousarray(pixels.transpose(0, 3, 1, 2) / np.float32(64) - 2)


@pytest.fixture(scope="session")
def lowered(exported, tmp_path_factory):
    """Every graph at every precision, once: the file, and what was noted."""
    folder = tmp_path_factory.mktemp("lowered")

    @functools.cache
    def make(model, precision, kind):
        graph = folder / f"{model}-{precision}-{kind}.onnx"
        return graph, lower(exported(model, kind), graph, precision, "tensorrt", _inputs(kind, SIDES[model])).notes

    return make


@pytest.mark.parametrize(("model", "precision", "kind"), CELLS, ids=["-".join(cell) for cell in CELLS])
def test_nvidias_compiler_takes_the_graph(model, precision, kind, lowered):
    graph, notes = lowered(model, precision, kind)

    compiled = rtx.compile_graph(graph, "SM89")

    assert not compiled.errors
    side = SIDES[model]
    name, dtype, shape = ("images", "UINT8", (-1, side, side, 3)) if kind == "uint8" else ("input", "FLOAT", (-1, 3, side, side))
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
def test_every_gpu_generation_takes_the_precisions_it_is_said_to_support(precision, lowered):
    graph, _ = lowered("mobilenet", precision, "uint8")
    able = [number for number in (75, 80, 86, 89, 120) if not obstacle(precision, "tensorrt", divmod(number, 10))]
    assert able
    refusals = {number: errors for number in able if (errors := rtx.compile_graph(graph, f"SM{number}").errors)}
    # A limit of TensorRT-RTX, the stand-in here, so `obstacle` does not know it: TensorRT itself is the compiler that ships.
    assert set(refusals) == ({75} if precision == "fp32" else set()), refusals
    assert all("FP32 GEMM is not supported" in error for errors in refusals.values() for error in errors), refusals


@pytest.mark.parametrize("precision", ["fp16", "bf16", "fp8"])
def test_what_onnx_runtime_cannot_compute_is_refused_before_anything_is_read(precision, tmp_path):
    with pytest.raises(SettingsError, match=f"PRECISION={precision}.*ONNX Runtime"):
        lower(tmp_path / "absent.onnx", tmp_path / "out.onnx", precision, "onnxruntime", np.empty(0))
