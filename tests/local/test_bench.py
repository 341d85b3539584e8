"""scripts/bench on a real server, with windows far too short to say anything: what it writes is there, whole and finite."""

import json
import math
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.bench.breakdown import PARTS
from benchmarks.bench.compare import FORMAT
from services.local.stack import Stack as LocalStack
from tests.local.stack import ROOT, SAMPLES, Stack
from tests.local.test_tensorrt_simulated import backends, gpu  # noqa: F401 - fixtures
from tests.ports import free_ports

FILES = {"index.html", "report.md", "report.json"}
SHORT = ("--seconds=0.2", "--batches=1", "--rates=1")


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks.bench", *words]


def environment(stack: LocalStack) -> dict[str, str]:
    return stack.environment(MODEL_REPOSITORY=str(stack.folders.repository))


def bench(stack: LocalStack, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command(*words), env=environment(stack), cwd=ROOT, capture_output=True, text=True, timeout=150)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def reports_in(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob("*/report.json"))


def numbers(found: Any) -> Iterator[float]:
    if isinstance(found, dict | list):
        for one in found.values() if isinstance(found, dict) else found:
            yield from numbers(one)
    elif isinstance(found, int | float):
        yield found


@pytest.fixture(scope="module")
def reports(lite0: Stack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the report of one whole run."""
    folder = tmp_path_factory.mktemp("reports")
    done = bench(lite0, *SHORT, "--rounds=2", "--clients=1,2", "--output", str(folder), "--json")
    (report,) = reports_in(folder)
    assert json.loads(done.stdout) == json.loads((report / "report.json").read_text())
    return folder


def test_a_report_has_every_cell_and_every_figure_is_finite(reports: Path, lite0: Stack) -> None:
    (folder,) = reports_in(reports)
    assert {path.name for path in folder.iterdir()} == FILES
    report = json.loads((folder / "report.json").read_text())
    assert report["complete"]
    assert (report["model"], report["served"]["version"]) == (lite0.name, lite0.live_version())
    assert all(math.isfinite(number) for number in numbers(report))
    ways = {(asked, protocol) for asked in ("pixels", "files") for protocol in ("http", "grpc")}
    assert {(row["asked"], row["protocol"], row["clients"]) for row in report["closed"]} == {(*way, n) for way in ways for n in (1, 2)}
    assert {(row["asked"], row["protocol"]) for row in report["open"]} == ways == {(r["asked"], r["protocol"]) for r in report["library"]}
    assert [row["batch"] for row in report["engine"]] == [1]
    for row in [*report["closed"], *report["open"], *report["engine"], *report["library"]]:
        assert row["images_per_second"]["median"] > 0
        assert len(row["images_per_second"]["rounds"]) == 2
    for row in report["closed"]:
        parts = row["parts_ms"]
        assert tuple(parts) == PARTS
        assert parts["compute"] > 0
        if row["asked"] == "pixels":
            assert parts["decode"] == 0
        elif row["clients"] == 1:  # whose requests are not mixed with others
            assert parts["decode"] > 0
    assert "a server of the benchmark's own" not in json.dumps(report)
    text = (folder / "report.md").read_text()
    page = (folder / "index.html").read_text()
    assert "## Where the time goes" in text
    assert page.count("<svg") >= 5
    assert "<script" not in page


def test_ctrl_c_keeps_what_was_measured_and_it_is_compared(reports: Path, lite0: Stack) -> None:
    before = reports_in(reports)
    earlier = before[-1] / "report.json"
    words = (*SHORT, "--rounds=1000", "--clients=1", "--protocols=http", "--output", str(reports), "--against", str(earlier))
    with subprocess.Popen(
        command(*words), env=environment(lite0), cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stderr
        for line in run.stderr:
            if "round 2 of 1000" in line:
                break
        run.send_signal(signal.SIGINT)
        _, rest = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "Traceback" not in rest
    assert "report, incomplete" in rest
    (folder,) = set(reports_in(reports)) - set(before)
    assert {path.name for path in folder.iterdir()} == FILES
    report = json.loads((folder / "report.json").read_text())
    assert (report["complete"], report["stopped"]) == (False, "interrupted")
    assert "Incomplete: interrupted" in (folder / "index.html").read_text()
    assert report["against"]["report"] == f"{before[-1].name}/report.json"
    assert {one["section"] for one in report["against"]["differences"]} >= {"closed", "engine", "library"}


def test_without_a_server_it_starts_one_and_a_regression_has_an_exit_code(tiny: Stack, tmp_path: Path) -> None:
    tiny.run("builder")
    better = {"median": 1e9, "spread": 0.0, "rounds": [1e9, 1e9]}
    earlier = {
        "format": FORMAT,
        "started": "2026-01-01T00:00:00Z",
        "engine": [{"batch": 1, "source": "ONNX Runtime", "images_per_second": better}],
        "served": {},
        "settings": {},
        "versions": {},
    }
    against = tmp_path / "earlier.json"
    against.write_text(json.dumps(earlier))
    words = (*SHORT, "--rounds=2", "--clients=1", "--protocols=http", "--pictures", str(SAMPLES), "--output", str(tmp_path / "reports"))
    done = bench(tiny, *words, "--against", str(against), "--fail-on-regression", code=1)
    assert f"worse than in {against}: 1" in done.stderr
    (folder,) = reports_in(tmp_path / "reports")
    report = json.loads((folder / "report.json").read_text())
    assert report["served"]["by"] == "a server of the benchmark's own"
    assert report["processor"]["server"] is not None
    assert "| engine, 1, ONNX Runtime | images/s |" in done.stdout


def test_a_tensorrt_engine_is_timed_by_trtexec_and_by_its_builder(gpu: Stack, tmp_path: Path) -> None:  # noqa: F811 - a fixture
    gpu.run("builder")
    words = (*SHORT, "--rounds=1", "--clients=1", "--protocols=grpc", "--output", str(tmp_path / "reports"))
    assert "a TensorRT engine needs that of the stack" in bench(gpu, *words, code=8).stderr
    gpu.serve()
    bench(gpu, *words)
    (folder,) = reports_in(tmp_path / "reports")
    report = json.loads((folder / "report.json").read_text())
    assert [(row["batch"], row["source"]) for row in report["engine"]] == [(1, "trtexec")]
    assert report["built"]["images_per_second"] > 0
    assert report["machine"]["gpu"].startswith("NVIDIA L4")
    assert report["closed"][0]["images_per_second"]["median"] > 0
    assert "The builder measured" in (folder / "report.md").read_text()


def test_a_server_that_is_named_must_answer(lite0: Stack) -> None:
    done = bench(lite0, "--url", f"127.0.0.1:{free_ports(1)[0]}", code=8)
    assert "no server answers" in done.stderr


def test_a_model_that_is_not_published_is_named(lite0: Stack, tmp_path: Path) -> None:
    done = bench(lite0, "--model", "nothing", "--output", str(tmp_path / "reports"), code=4)
    assert "nothing is no published model" in done.stderr
    assert not (tmp_path / "reports").exists()
