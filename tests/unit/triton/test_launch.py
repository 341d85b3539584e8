"""The server's command line, and what keeps it from being started; that a server is watched: tests/local/test_health.py."""

import os
import signal
import subprocess
import sys
import time

import pytest

from services.core.errors import ContractError, SettingsError
from services.core.record import BuildRecord
from services.core.settings import TritonSettings
from services.triton.launch import admin_key, arguments, demand_published, demand_same_tensorrt

KEY = "a1b2c3"


@pytest.fixture
def published(tmp_path, make_card):
    """A model folder that serves version 2, built by a compiler of some version."""

    def publish(compiler: str, version: str):
        folder = tmp_path / "tiny"
        (folder / "2").mkdir(parents=True)
        (folder / "config.pbtxt").write_text("version_policy { specific { versions: [ 2 ] } }")
        record = {
            "format_version": "2.0",
            "model": "tiny",
            "engine_fingerprint": "a",
            "publication_fingerprint": "b",
            "card_sha256": "c",
            "source": make_card().source.model_dump(),
            "precision": "fp32",
            "compiler": {"name": compiler, "version": version},
            "hardware": {"device": "one"},
            "max_batch": 8,
            "engine_file": "model.plan",
            "engine_sha256": "e",
            "engine_bytes": 1,
            "accuracy": dict.fromkeys(
                ("top1_agreement", "max_error", "mean_error", "min_top1_agreement", "max_error_tolerance", "mean_error_tolerance"), 1
            )
            | {"samples": 1},
            "created": "now",
        }
        (folder / "2" / "build.json").write_text(BuildRecord.model_validate(record).dumps())
        return folder

    return publish


def command_line(release: str = "", **environment: str) -> list[str]:
    return arguments(TritonSettings.from_env(environment), KEY, {"NVIDIA_TRITON_SERVER_VERSION": release})


def test_administrative_apis_are_closed_on_both_protocols():
    value = f"model-repository,shared-memory,trace,logging:x-admin={KEY}"
    assert {f"--http-restricted-api={value}", f"--grpc-restricted-protocol={value}"} <= set(command_line())


def test_the_configured_model_is_loaded_and_only_on_loopback_by_default():
    argv = command_line(MODEL="onnx:/models/a net.onnx", HTTP_PORT="9000")
    assert argv[0] == "tritonserver"
    assert [word for word in argv if word.startswith("--load-model")] == ["--load-model=a_net"]
    assert {"--model-control-mode=explicit", "--disable-auto-complete-config", "--http-port=9000", "--grpc-port=8001"} <= set(argv)
    assert {"--http-address=127.0.0.1", "--grpc-address=127.0.0.1", "--metrics-address=127.0.0.1"} <= set(argv)


@pytest.mark.parametrize()
def test_the_bound_of_requests_is_given_to_servers_that_know_it(release, size, given):
    assert ("--http-max-input-size=99" in command_line(release, MAX_REQUEST_BYTES=size)) == given


def test_backends_may_lie_elsewhere():
    assert "--backend-directory=/b" in command_line(BACKEND_DIRECTORY="/b")
    assert not [word for word in command_line() if word.startswith("--backend-directory")]


def test_no_key_no_server(tmp_path):
    with pytest.raises(SettingsError, match="ADMIN_KEY_FILE is not set"):
        admin_key(None)
    with pytest.raises(ContractError, match="cannot read the key"):
        admin_key(tmp_path / "missing")
    for content in ("", "  \n", "a key"):
        (tmp_path / "key").write_text(content)
        with pytest.raises(ContractError, match="holds no key"):
            admin_key(tmp_path / "key")
    (tmp_path / "key").write_text(f"{KEY}\n")
    assert admin_key(tmp_path / "key") == KEY


def test_a_model_that_is_not_published_is_named_with_those_that_are(published, tmp_path):
    assert demand_published(published("onnxruntime", "1.32.0").parent, "tiny") == tmp_path / "tiny"
    with pytest.raises(ContractError, match=r"model other is not published .*found tiny"):
        demand_published(tmp_path, "other")


@pytest.mark.parametrize("here", ["11.1.0.106", "11.1.0.106+cuda13.3"])
def test_a_plan_of_another_tensorrt_is_refused_before_the_server_starts(published, here):
    folder = published("tensorrt", "11.2.1.2")
    with pytest.raises(
        ContractError, match=r"this server has TensorRT 11\.1\.0\.106, version 2 of tiny was built with 11\.2\.1\.2"
    ) as caught:
        demand_same_tensorrt(folder, {"TRT_VERSION": here})
    assert "NGC_RELEASE" in caught.value.hint
    demand_same_tensorrt(folder, {"TRT_VERSION": "11.2.1.2"})
    demand_same_tensorrt(folder, {})


def test_a_graph_of_onnx_runtime_asks_for_no_tensorrt(published):
    demand_same_tensorrt(published("onnxruntime", "1.32.0"), {"TRT_VERSION": "11.1.0.106"})


def test_a_missing_server_and_a_missing_model_end_with_codes_of_their_own(published, tmp_path):
    folder = published("onnxruntime", "1.32.0")
    (tmp_path / "key").write_text(KEY)
    environment = {**os.environ, "MODEL": "tiny", "MODEL_REPOSITORY_DIR": str(folder.parent), "ADMIN_KEY_FILE": str(tmp_path / "key")}
    for changes, code, says in (({"PATH": "/nowhere"}, 5, "tritonserver is not on PATH"), ({"MODEL": "other"}, 4, "is not published")):
        done = subprocess.run(
            [sys.executable, "-m", "services.triton.launch"], env=environment | changes, capture_output=True, text=True, timeout=30
        )
        assert (done.returncode, says in done.stderr) == (code, True), done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_server_and_its_exit_code_comes_back(published, tmp_path, number):
    """The server is a script here: what a real one does is told in the local tier."""
    folder = published("onnxruntime", "1.32.0")
    (tmp_path / "key").write_text(KEY)
    server = tmp_path / "tritonserver"
    server.write_text('#!/bin/sh\ntrap "echo told; exit 3" TERM\necho started\nwhile :; do sleep 0.05; done\n')
    server.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "MODEL": "tiny",
        "MODEL_REPOSITORY_DIR": str(folder.parent),
        "ADMIN_KEY_FILE": str(tmp_path / "key"),
        "TMPDIR": str(tmp_path),
    }
    process = subprocess.Popen([sys.executable, "-m", "services.triton.launch"], env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "started\n"
    time.sleep(0.1)
    process.send_signal(number)
    assert process.communicate(timeout=10)[0] == "told\n"
    assert process.returncode == 3
