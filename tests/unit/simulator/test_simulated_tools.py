import sys
from collections.abc import Callable
from pathlib import Path

import pytest


def test_nvidia_smi_answers_what_it_knows(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from simulator.nvidia_smi import main

    monkeypatch.setenv("SIMULATOR_GPU", "NVIDIA T4|7.5|580.95.05")
    assert main(["--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader"]) == 0
    assert capsys.readouterr().out == "NVIDIA T4, 7.5, 580.95.05\n"
    assert main(["--query-gpu=memory.total", "--format=csv,noheader,nounits"]) == 0
    assert capsys.readouterr().out.strip().isdigit()


@pytest.mark.parametrize(
    "arguments", [["--query-gpu=nmae", "--format=csv"], ["--query-gpu=name"], ["--query-gpu=name", "--format=json"], ["-q"], []]
)
def test_nvidia_smi_refuses_the_rest(arguments: list[str]) -> None:
    from simulator.nvidia_smi import main

    assert main(arguments) != 0


@pytest.fixture
def polygraphy(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Polygraphy's command line in this process: its start alone takes seconds."""
    trt = pytest.importorskip("polygraphy.backend.trt", reason="the real Polygraphy is not installed")
    from polygraphy.tools.inspect.subtool.model import extractors

    from simulator.polygraphy_cli import main

    for owner, name in ((trt, "EngineFromBytes"), (trt, "TrtRunner"), (extractors, "graph_data_from_trt_engine")):
        monkeypatch.setattr(owner, name, getattr(owner, name))

    def run(*arguments: object) -> tuple[int, str]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["polygraphy", *map(str, arguments)])
        try:
            code = main()
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        return code, "".join(capsys.readouterr())

    return run


@pytest.mark.filterwarnings("ignore")
def test_polygraphy_runs_and_compares_a_plan(polygraphy, plan: Path, onnx_file: Path, tmp_path: Path, monkeypatch) -> None:
    given, expected, found = (tmp_path / name for name in ("in.json", "ort.json", "out.json"))
    shape = ("--input-shapes", "images:[3,8,8,3]")
    code, text = polygraphy("run", onnx_file, "--onnxrt", *shape, "--save-inputs", given, "--save-outputs", expected)
    assert code == 0, text
    engine = ("run", plan, "--trt", "--model-type", "engine", "--load-inputs", given, "--load-outputs", expected)
    code, text = polygraphy(*engine, "--check-error-stat", "max", "--validate", "--save-outputs", found)
    assert code == 0, text
    from polygraphy.comparator import RunResults

    assert RunResults.load(str(found))[0][1][0]["scores"].shape == (3, 4)
    monkeypatch.setenv("SIMULATOR_MISBEHAVE", "wrong-answers")
    assert polygraphy(*engine)[0] == 1


@pytest.mark.filterwarnings("ignore")
def test_polygraphy_refuses_what_it_cannot_do(polygraphy, plan: Path, monkeypatch) -> None:
    engine = ("run", plan, "--trt", "--model-type", "engine")
    assert polygraphy(*engine, "--nonsense")[0] == 1
    monkeypatch.setenv("SIMULATOR_TENSORRT", "11.2.1.2")
    code, text = polygraphy(*engine)
    assert (code, "got 11.1.0.106, please rebuild" in text) == (1, True)


@pytest.mark.filterwarnings("ignore")
def test_polygraphy_inspects_a_plan(polygraphy, plan: Path) -> None:
    _, shown = polygraphy("inspect", "model", plan, "--model-type", "engine", "--show", "layers")
    assert "{images [dtype=uint8, shape=(-1, 8, 8, 3)]}" in shown
    assert "min=(1, 8, 8, 3), opt=(2, 8, 8, 3), max=(4, 8, 8, 3)" in shown
    assert "conv [Op: CaskConvolution]" in shown
