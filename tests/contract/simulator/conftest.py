"""The simulators are tested themselves: they must refuse what the real programs refuse."""

from pathlib import Path

import onnx
import pytest

from tests.contract.simulator.simulated import SHAPES, Result, Trtexec, classifier


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SIMULATOR_MISBEHAVE", "SIMULATOR_GPU"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SIMULATOR_TENSORRT", "11.1.0.106")
    monkeypatch.setenv("SIMULATOR_SECONDS", "0.05")


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    onnx.save(classifier(), path)
    return path


@pytest.fixture
def trtexec(capsys: pytest.CaptureFixture[str]) -> Trtexec:
    from simulator.trtexec import main

    def run(*arguments: object) -> Result:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture
def plan(trtexec: Trtexec, onnx_file: Path, tmp_path: Path) -> Path:
    path = tmp_path / "model.plan"
    result = trtexec(f"--onnx={onnx_file}", *SHAPES, f"--saveEngine={path}", "--skipInference", "--profilingVerbosity=detailed")
    assert result.code == 0, result.err
    return path
