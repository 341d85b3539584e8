import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from simulator.machine import Machine
from tests.conftest import ROOT


def test_nvidia_smi_answers_what_it_knows(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from simulator.nvidia_smi import main

    monkeypatch.setenv("SIMULATOR_GPU", "NVIDIA T4|7.5|580.95.05")
    assert main(["--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader"]) == 0
    assert capsys.readouterr().out == "NVIDIA T4, 7.5, 580.95.05\n"
    monkeypatch.setenv("SIMULATOR_GPU", "NVIDIA T4|7.5|580.95.05; NVIDIA L4|8.9|580.95.05")
    assert main(["--query-gpu=index,name", "--format=csv,noheader"]) == 0
    assert capsys.readouterr().out == "0, NVIDIA T4\n1, NVIDIA L4\n"
    monkeypatch.delenv("SIMULATOR_GPU")
    assert main(["--query-gpu=memory.total", "--format=csv,noheader,nounits"]) == 0
    assert capsys.readouterr().out.strip().isdigit()


@pytest.mark.parametrize(
    "arguments", [["--query-gpu=nmae", "--format=csv"], ["--query-gpu=name"], ["--query-gpu=name", "--format=json"], ["-q"], []]
)
def test_nvidia_smi_refuses_the_rest(arguments: list[str]) -> None:
    from simulator.nvidia_smi import main

    assert main(arguments) != 0


@pytest.mark.parametrize(("order", "gpu"), [("", "NVIDIA L4"), ("FASTEST_FIRST", "NVIDIA L4"), ("PCI_BUS_ID", "NVIDIA T4")])
def test_cuda_counts_the_fastest_gpu_first_unless_it_is_told(order: str, gpu: str) -> None:
    environment = {"SIMULATOR_GPU": "NVIDIA T4|7.5|580.95.05;NVIDIA L4|8.9|580.95.05", "CUDA_DEVICE_ORDER": order}
    assert Machine.from_env(environment).gpu == gpu


@pytest.fixture
def polygraphy() -> Callable[..., subprocess.CompletedProcess[str]]:
    """The builder's process that loads an engine, with the real Polygraphy on the simulated tensorrt module."""
    pytest.importorskip("polygraphy", reason="Polygraphy is not installed")

    def run(*arguments: object, **changes: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "services.builder.compilers.polygraphy_child", *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "simulator" / "python"), **changes}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    return run


def test_polygraphy_describes_a_plan(polygraphy, plan: Path, tmp_path: Path) -> None:
    done = polygraphy("describe", plan, tmp_path / "out.json")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out.json").read_text()) == {
        "inputs": [{"name": "images", "dtype": "uint8", "shape": [-1, 8, 8, 3]}],
        "outputs": [{"name": "scores", "dtype": "float32", "shape": [-1, 4]}],
        "max_batch": 4,
    }


def test_polygraphy_runs_a_plan_in_batches(polygraphy, plan: Path, onnx_file: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 3), dtype=np.uint8)
    np.save(tmp_path / "in.npy", pixels)
    run = ("run", plan, tmp_path / "in.npy", 4, tmp_path / "out.npy")
    done = polygraphy(*run)
    assert done.returncode == 0, done.stderr
    expected = onnxruntime.InferenceSession(str(onnx_file)).run(None, {"images": pixels})[0]
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, rtol=1e-5, atol=1e-5)
    polygraphy(*run, SIMULATOR_MISBEHAVE="wrong-answers")
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected[:, ::-1], rtol=1e-5, atol=1e-5)


def test_polygraphy_says_what_tensorrt_refuses(polygraphy, plan: Path, tmp_path: Path) -> None:
    done = polygraphy("describe", plan, tmp_path / "out.json", SIMULATOR_TENSORRT="11.2.1.2")
    assert done.returncode == 1
    assert "got 11.1.0.106, please rebuild" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    np.save(tmp_path / "in.npy", np.zeros((7, 8, 8, 3), np.uint8))
    done = polygraphy("run", plan, tmp_path / "in.npy", 7, tmp_path / "out.npy")
    assert done.returncode == 1
    assert "Supported range is [1, 8, 8, 3] to [4, 8, 8, 3]" in done.stdout + done.stderr
