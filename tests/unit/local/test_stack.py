"""What the stages are given, and which server is whose."""

import json
import os
import socket

import pytest

from services.core.errors import ServerError
from services.local.stack import DEFAULT_MODEL, Folders, Stack
from tests.ports import free_ports


@pytest.fixture
def make(tmp_path):
    """A stack in a folder whose name has a blank."""

    def make(**settings: str) -> Stack:
        checkout = tmp_path / "a clone"
        (checkout / ".stack").mkdir(parents=True, exist_ok=True)
        return Stack(Folders.of_checkout(checkout, settings), settings)

    return make


def test_without_settings_it_is_the_small_model_on_the_usual_ports(make):
    given = make().environment()
    assert (given["MODEL"], given["LAUNCHER"], given["ACCELERATOR"]) == (DEFAULT_MODEL, "local", "onnxruntime")
    assert (given["TRITON_URL"], given["TRITON_GRPC_URL"], given["METRICS_PORT"]) == ("127.0.0.1:8000", "127.0.0.1:8001", "8002")


def test_what_the_launcher_sets_cannot_be_set_otherwise(make):
    given = make(ACCELERATOR="tensorrt", LISTEN_ADDRESS="0.0.0.0", MAX_REQUEST_BYTES="9", HTTP_PORT="9000").environment()
    assert (given["ACCELERATOR"], given["LISTEN_ADDRESS"], given["MAX_REQUEST_BYTES"]) == ("onnxruntime", "127.0.0.1", "")
    assert given["TRITON_URL"] == "127.0.0.1:9000"


def test_modules_of_the_user_are_found_in_models(make):
    stack = make()
    assert stack.environment()["PYTHONPATH"].split(os.pathsep) == [str(stack.folders.code), str(stack.folders.code / "models")]


@pytest.mark.parametrize(("given", "found"), [("", "model_repository"), ("./own models", "own models"), ("/srv/models", "/srv/models")])
def test_the_repository_starts_at_the_checkout(make, given, found):
    stack = make(MODEL_REPOSITORY=given)
    assert stack.folders.work / stack.folders.repository == stack.folders.code / found


def test_a_taken_port_is_named(make):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        with pytest.raises(ServerError, match=rf"port {port} is taken \(GRPC_PORT\)"):
            make(HTTP_PORT=str(free_ports(1)[0]), GRPC_PORT=port).demand_free_ports()


def test_a_process_that_took_the_number_over_is_not_the_server(make):
    stack = make()
    (stack.folders.state / "server.json").write_text(json.dumps({"pid": os.getpid()}))
    assert stack.supervisor is None
    assert not stack.stop()
    assert not (stack.folders.state / "server.json").exists()


def test_a_server_of_other_settings_is_not_gone_on_with(make):
    running = make(HTTP_PORT="18000")
    (running.folders.state / "server.json").write_text(
        json.dumps({"HTTP_PORT": "8000", "GRPC_PORT": "8001", "METRICS_PORT": "8002", "MODEL_REPOSITORY": "/elsewhere"})
    )
    with pytest.raises(ServerError, match=r"HTTP_PORT=8000, asked for 18000; MODEL_REPOSITORY=/elsewhere, asked for") as refused:
        running.demand_what_runs()
    assert "scripts/down" in refused.value.hint


def test_a_damaged_record_is_none(make):
    stack = make()
    (stack.folders.state / "server.json").write_text("[")
    assert stack.supervisor is None
