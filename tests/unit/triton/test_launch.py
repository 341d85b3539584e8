"""The server's command line, and what keeps it from being started."""

import subprocess
import sys

import pytest

from services.core.errors import ContractError, SettingsError
from services.triton.launch import Launch, served_models

KEY = "a1b2c3"


@pytest.fixture
def environ(tmp_path):
    (tmp_path / "key").write_text(f"{KEY}\n")
    return {"ADMIN_KEY_FILE": str(tmp_path / "key"), "MODEL_REPOSITORY_DIR": str(tmp_path / "repository"), "HTTP_PORT": "9000"}


def publish(repository, *names):
    for name in names:
        (repository / name).mkdir(parents=True)
        (repository / name / "config.pbtxt").touch()


def test_every_published_model_is_loaded_and_nothing_else(tmp_path):
    publish(tmp_path, "resnet50", "efficientnet_lite0")
    (tmp_path / "half_written").mkdir()
    assert served_models(tmp_path, "resnet50") == ["efficientnet_lite0", "resnet50"]


def test_an_unpublished_model_is_named_with_those_that_are_there(tmp_path):
    publish(tmp_path, "resnet18")
    with pytest.raises(ContractError, match=r"model resnet50 is not published .*found resnet18") as error:
        served_models(tmp_path, "resnet50")
    assert "run --rm builder" in error.value.hint


def test_administrative_apis_are_closed_on_both_protocols(environ):
    argv = Launch.from_env(environ).arguments(["m"])
    value = f"model-repository,shared-memory,trace,logging:x-admin={KEY}"
    assert f"--http-restricted-api={value}" in argv
    assert f"--grpc-restricted-protocol={value}" in argv


def test_models_are_loaded_explicitly_and_only_on_loopback_by_default(environ):
    argv = Launch.from_env(environ).arguments(["a", "b"])
    assert argv[0] == "tritonserver"
    assert [word for word in argv if word.startswith("--load-model")] == ["--load-model=a", "--load-model=b"]
    assert {"--model-control-mode=explicit", "--disable-auto-complete-config", "--http-port=9000", "--grpc-port=8001"} <= set(argv)
    assert {"--http-address=127.0.0.1", "--grpc-address=127.0.0.1", "--metrics-address=127.0.0.1"} <= set(argv)


def test_options_that_some_servers_lack_are_given_only_where_set(environ):
    plain = Launch.from_env(environ | {"MAX_REQUEST_BYTES": "", "BACKEND_DIRECTORY": ""}).arguments(["m"])
    assert not [word for word in plain if word.startswith(("--http-max-input-size", "--backend-directory"))]
    full = Launch.from_env(environ | {"MAX_REQUEST_BYTES": "99", "BACKEND_DIRECTORY": "/b"}).arguments(["m"])
    assert {"--http-max-input-size=99", "--backend-directory=/b"} <= set(full)


def test_the_key_is_not_shown(environ):
    assert KEY not in repr(Launch.from_env(environ))


def test_without_a_key_the_server_is_not_started(environ, tmp_path):
    with pytest.raises(SettingsError, match="ADMIN_KEY_FILE is not set"):
        Launch.from_env({})
    with pytest.raises(ContractError, match="No such file"):
        Launch.from_env(environ | {"ADMIN_KEY_FILE": str(tmp_path / "none")})
    for content in ("", "two words", "a:b=c"):
        (tmp_path / "key").write_text(content)
        with pytest.raises(ContractError, match="holds no key"):
            Launch.from_env(environ)


def test_a_port_that_is_no_number_is_named(environ):
    with pytest.raises(SettingsError, match="HTTP_PORT=web"):
        Launch.from_env(environ | {"HTTP_PORT": "web"})


@pytest.mark.parametrize("module", ["services.triton.launch", "services.triton.healthcheck"])
def test_it_runs_on_the_standard_library(module, request):
    subprocess.run([sys.executable, "-S", "-c", f"import {module}"], cwd=request.config.rootpath, check=True, timeout=60)


def test_the_command_ends_with_the_code_of_its_error(request, tmp_path):
    command = [sys.executable, "-m", "services.triton.launch"]
    done = subprocess.run(
        command, cwd=request.config.rootpath, env={"ADMIN_KEY_FILE": str(tmp_path / "none")}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == ContractError.exit_code
    assert "fix: run the builder first" in done.stderr
    assert "Traceback" not in done.stderr
