"""Each thing that goes wrong has its own error and exit code, and leaves nothing half-written and nothing running."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from tests.local.stack import Stack


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return Stack(tmp_path)


def left_behind(stack: Stack) -> list[str]:
    """Half-written files anywhere below the stack's folder."""
    return [str(path) for path in stack.folder.rglob("*") if ".part" in path.name or path.name.startswith(".staging")]


def static_batch_graph(path: Path, *, rows_mix: bool) -> None:
    """A classifier for a batch of 1; with ``rows_mix`` it normalises over the batch."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["in"], ["pooled"]),
        helper.make_node("Reshape", ["pooled", "shape"], ["flat"]),
    ]
    if rows_mix:
        nodes += [
            helper.make_node("ReduceMean", ["flat"], ["mean"], axes=[0], keepdims=1),
            helper.make_node("Sub", ["flat", "mean"], ["out"]),
        ]
    else:
        nodes += [helper.make_node("Identity", ["flat"], ["out"])]
    graph = helper.make_graph(
        nodes,
        "static",
        [helper.make_tensor_value_info("in", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 3])],
        [helper.make_tensor("shape", TensorProto.INT64, [2], [1, 3])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def test_unknown_model_name(stack: Stack) -> None:
    done = stack.run("exporter", code=3, MODEL="resnet51")
    assert "resnet51" in done.stderr
    assert "resnet50" in done.stderr
    assert left_behind(stack) == []


def test_weights_host_unreachable(stack: Stack) -> None:
    """No proxy of the machine is handed on, and the name is resolved nowhere: what a closed network looks like."""
    done = stack.run(
        "exporter",
        code=3,
        MODEL="resnet18",
        TORCH_HOME=str(stack.folder / "hub"),
        http_proxy="http://127.0.0.1:9",
        https_proxy="http://127.0.0.1:9",
    )
    assert "cannot be downloaded from https://" in done.stderr
    assert "WEIGHTS=/models/" in done.stderr
    assert not (stack.folder / "artifacts" / "resnet18").exists()


@pytest.mark.parametrize("damage", ["empty", "truncated", "text"])
def test_corrupted_onnx(stack: Stack, damage: str) -> None:
    path = stack.folder / "net.onnx"
    static_batch_graph(path, rows_mix=False)
    content = {"empty": b"", "truncated": path.read_bytes()[:-40], "text": b"this is not ONNX\n" * 10}[damage]
    path.write_bytes(content)
    done = stack.run("exporter", code=3, MODEL=f"onnx:{path}")
    assert "no valid ONNX file" in done.stderr
    assert f"{len(content)} bytes" in done.stderr
    assert not (stack.folder / "artifacts").exists()


def test_static_batch_is_made_dynamic_where_that_is_safe_and_served(stack: Stack) -> None:
    path = stack.folder / "net.onnx"
    static_batch_graph(path, rows_mix=False)
    stack.settings |= {"MODEL": f"onnx:{path}", "SCORES": "logits"}
    stack.build()
    stack.serve()
    try:
        assert json.loads(stack.run("client", "verify", "--json").stdout)["top1_agreement"] == 1.0
    finally:
        stack.stop()


def test_static_batch_is_refused_where_rows_influence_one_another(stack: Stack) -> None:
    path = stack.folder / "net.onnx"
    static_batch_graph(path, rows_mix=True)
    done = stack.run("exporter", code=3, MODEL=f"onnx:{path}")
    assert "fixed batch of 1" in done.stderr
    assert "influence each other" in done.stderr


@pytest.fixture
def exported(tiny_export: Stack, tmp_path: Path) -> Stack:
    """A copy of the tiny export and its source, to be damaged."""
    shutil.copytree(tiny_export.settings["ARTIFACTS_DIR"], tmp_path / "artifacts")
    shutil.copy(tiny_export.folder / "tiny_factory.py", tmp_path)
    return Stack(tmp_path, **{key: tiny_export.settings[key] for key in ("MODEL", "CROP", "RESIZE")})


def test_card_of_a_newer_format(exported: Stack) -> None:
    path = exported.folder / "artifacts" / exported.name / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": "2.0"}))
    done = exported.run("builder", code=4)
    assert "'2.0', expected 1.0" in done.stderr
    assert not exported.model_folder.exists()


def test_graph_that_is_not_the_cards(exported: Stack) -> None:
    path = exported.folder / "artifacts" / exported.name / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    done = exported.run("builder", code=4)
    assert "sha256" in done.stderr


def test_no_export_at_all(stack: Stack) -> None:
    done = stack.run("builder", code=4)
    assert "run the exporter" in done.stderr


def test_read_only_repository(exported: Stack) -> None:
    """/sys is read-only, or takes no folders: as a mount with :ro would be."""
    done = exported.run("builder", code=7, MODEL_REPOSITORY_DIR="/sys/kernel")
    assert "cannot write in /sys/kernel" in done.stderr


@pytest.mark.parametrize("full", ["model_repository", "artifacts"])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_disk_full(exported: Stack, full: str, precision: str) -> None:
    """A version needs more than 24 kB, and the graph at its precision more than 8 kB."""
    size = {"model_repository": "24k", "artifacts": "8k"}[full]
    small = exported.folders.repository if full == "model_repository" else exported.folders.artifacts / exported.name / "build"
    small.mkdir(parents=True, exist_ok=True)  # another test may have built in it
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"needs the right to mount a tmpfs: {mounted.stderr.decode().strip()}")
    try:
        done = exported.run("builder", code=7, PRECISION=precision)
        assert "No space left" in done.stderr
        assert "free some space" in done.stderr
        assert list(small.rglob("config.pbtxt")) == []
        assert list(small.rglob(".staging*")) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_taken_port(tiny: Stack) -> None:
    tiny.run("builder")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", tiny.grpc))
        taken.listen()
        with pytest.raises(AssertionError, match=r"(?s)the server ended with [1-9].*failed to start GRPC service"):
            tiny.serve()


def test_model_that_is_not_published(tiny: Stack) -> None:
    tiny.run("builder")
    done = tiny.run("triton.launch", code=4, MODEL="resnet50")
    assert "resnet50 is not published" in done.stderr


@pytest.mark.parametrize(
    ("stage", "signal_number", "delay"),
    [
        ("exporter", signal.SIGINT, 0.4),
        ("exporter", signal.SIGTERM, 2.0),
        ("builder", signal.SIGINT, 0.7),
        ("builder", signal.SIGTERM, 1.2),
    ],
)
def test_interrupted_stage(exported: Stack, stage: str, signal_number: signal.Signals, delay: float) -> None:
    process = exported.start(stage, "--force", LOCK_WAIT_SECONDS="0")
    time.sleep(delay)
    process.send_signal(signal_number)
    output = process.communicate(timeout=60)[0].decode()
    assert process.returncode in (128 + signal_number, -signal_number, 0), output
    assert left_behind(exported) == []
    exported.build()
    assert exported.live_version() >= 1


def test_interrupted_client(lite0: Stack) -> None:
    process = lite0.start("client", "wait", TRITON_URL="127.0.0.1:9", WAIT_SECONDS="60")
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=30)[0].decode()
    assert process.returncode == 130, output


def test_no_server(stack: Stack) -> None:
    done = stack.run("client", "wait", code=8, WAIT_SECONDS="1")
    assert stack.settings["TRITON_URL"] in done.stderr


def test_settings_that_cannot_be(stack: Stack) -> None:
    done = stack.run("builder", code=2, MAX_BATCH="4", OPT_BATCH="8")
    assert "OPT_BATCH=8, MAX_BATCH=4: expected OPT_BATCH <= MAX_BATCH" in done.stderr
    done = stack.run("builder", code=2, PRECISION="fp17", KEEP_VERSIONS="0")
    assert "PRECISION=fp17" in done.stderr
    assert "KEEP_VERSIONS=0" in done.stderr


def test_killed_builders_leave_a_repository_that_loads(tiny: Stack) -> None:
    """Builders killed with SIGKILL at many instants; after each, the config names a whole version."""
    tiny.run("builder")
    tiny.serve()
    for count in range(12):
        process = tiny.start("builder", "--force")
        time.sleep(0.15 * count)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        live = tiny.live_version()
        assert (tiny.model_folder / str(live) / "build.json").is_file()
    tiny.stop()
    tiny.serve()
    tiny.run("builder", "--force")
    assert left_behind(tiny) == []
