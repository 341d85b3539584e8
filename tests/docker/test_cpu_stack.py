"""``compose.yaml`` with ``compose.cpu.yaml`` on a real engine: images, order, health, hardening, a second up, hot load."""

import json
import socket
import subprocess
import urllib.error
import urllib.request
from typing import Any

import pytest

import services
from tests.checkout import outside
from tests.conftest import wait_for
from tests.docker.conftest import CPU_FILES, ROOT, ComposeStack, MakeStack, json_lines
from tests.docker.served import live_version, of_a_file

NAME = "efficientnet_lite0"
ESPRESSO, CATS = 967, {281, 282, 285}


# Run in the server's container: Python's backend is a process of its own there, one an instance.
KILL_THE_STUBS = (
    "import os, pathlib; "
    'stubs = [path.parent.name for path in pathlib.Path("/proc").glob("[0-9]*/comm") if path.read_text() == "triton_python_b\\n"]; '
    "assert stubs; [os.kill(int(pid), 9) for pid in stubs]"
)


CONNECT = """
import json, socket, sys
def reached(address):
    host, _, port = address.partition(":")
    try:
        socket.create_connection((host, int(port)), 5).close()
    except OSError:
        return False
    return True
print(json.dumps({address: reached(address) for address in sys.argv[1:]}))
"""


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        error.close()
        return False


def test_the_client_classifies_photographs(cpu_stack: ComposeStack) -> None:
    output = cpu_stack.compose("run --rm -T client classify --json /samples/coffee.jpg /samples/chelsea.jpg")
    coffee, cat = (entry["top"][0]["index"] for entry in json_lines(output))
    assert coffee == ESPRESSO
    assert cat in CATS


def test_a_photograph_is_classified_as_it_is(cpu_stack: ComposeStack) -> None:
    assert of_a_file(cpu_stack, NAME, ROOT / "samples" / "coffee.jpg") == (ESPRESSO, live_version(cpu_stack, NAME))


def test_the_client_verifies_over_grpc(cpu_stack: ComposeStack) -> None:
    result = json_lines(cpu_stack.compose("run --rm -T client verify --json --protocol grpc"))[-1]
    assert result["top1_agreement"] == 1.0


def test_plain_up_shows_the_classification_rebuilds_nothing_and_leaves_the_server_running(cpu_stack: ComposeStack) -> None:
    started = cpu_stack.inspect("triton", "{{.State.StartedAt}}")
    version = sorted(path.name for path in (cpu_stack.repository / NAME).glob("[0-9]*"))
    cpu_stack.compose("up --detach")
    wait_for(lambda: cpu_stack.inspect("client", "{{.State.Status}}") == "exited", 120, every=0.5)
    logs = cpu_stack.compose("logs --no-color --no-log-prefix exporter builder client")
    assert logs.count("exported") == logs.count("published") == 1  # by the first up; Compose shows the logs of both
    assert logs.count("up to date") >= 2
    assert "espresso" in logs
    assert "cat" in logs
    assert cpu_stack.inspect("client", "{{.State.ExitCode}}") == "0"
    assert cpu_stack.inspect("triton", "{{.State.StartedAt}} {{.State.Status}}") == f"{started} running"
    assert sorted(path.name for path in (cpu_stack.repository / NAME).glob("[0-9]*")) == version


def test_another_model_is_hot_loaded_into_the_running_server(cpu_stack: ComposeStack) -> None:
    settings: Any = {"MODEL": "squeezenet1_1", "WEIGHTS": "random"}
    cpu_stack.compose("run --rm -T exporter", **settings)
    cpu_stack.compose("run --rm -T --no-deps builder", **settings)
    assert answers(f"{cpu_stack.url}/v2/models/squeezenet1_1/ready")
    assert answers(f"{cpu_stack.url}/v2/models/{NAME}/ready")


def test_files_of_the_repository_belong_to_the_user(cpu_stack: ComposeStack) -> None:
    owners = {(path.stat().st_uid, path.stat().st_gid) for path in cpu_stack.repository.rglob("*")}
    assert owners == {(1000, 1000)}


@pytest.mark.parametrize("service", ["exporter", "builder", "triton", "client"])
def test_containers_are_confined(cpu_stack: ComposeStack, service: str) -> None:
    cpu_stack.compose("create --no-recreate client")
    host = json.loads(cpu_stack.inspect(service, "{{json .HostConfig}}"))
    assert cpu_stack.inspect(service, "{{.Config.User}}") == "1000:1000"
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert host["Init"]
    assert host["Tmpfs"].keys() == {"/tmp"}
    assert host["Tmpfs"]["/tmp"].startswith("size=")
    assert host["Memory"] > 0
    assert host["PidsLimit"] > 0
    assert host["LogConfig"]["Config"].keys() == {"max-size", "max-file"}
    mounts = {mount["Destination"]: mount["RW"] for mount in json.loads(cpu_stack.inspect(service, "{{json .Mounts}}"))}
    assert mounts.get("/model_repository", False) == (service == "builder")


def test_ports_are_on_loopback_and_administration_is_closed(cpu_stack: ComposeStack) -> None:
    bindings = json.loads(cpu_stack.inspect("triton", "{{json .HostConfig.PortBindings}}"))
    assert {binding["HostIp"] for ports in bindings.values() for binding in ports} == {"127.0.0.1"}
    assert len(bindings) == 3
    request = urllib.request.Request(f"{cpu_stack.url}/v2/repository/models/{NAME}/unload", data=b"{}")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    assert refused.value.code == 403
    refused.value.close()


def test_builder_and_server_reach_one_another_and_nothing_outside(cpu_stack: ComposeStack) -> None:
    try:
        others = [f"{host}:443" for host in (outside(), socket.gethostbyname(outside()))]
    except OSError:
        pytest.skip("this machine has no network")

    def reached(service: str) -> list[bool]:
        python = f"run --rm -T --no-deps --entrypoint /opt/venv/bin/python {service} -c '{CONNECT}'"
        (found,) = json_lines(cpu_stack.compose(" ".join([python, *others, "triton:8000", "triton:8001"])))
        return list(found.values())

    if reached("exporter") != [True, True, False, False]:
        pytest.skip("containers of this machine have no network")
    assert reached("client") == [True, True, True, True]
    assert reached("builder") == reached("triton") == [False, False, True, True]
    assert answers(f"{cpu_stack.url}/v2/health/ready")


def test_a_second_project_runs_beside_the_first_and_stops_in_good_time(cpu_stack: ComposeStack, make_stack: MakeStack) -> None:
    with make_stack("beside", CPU_FILES, MODEL="squeezenet1_1", WEIGHTS="random") as other:
        other.compose("up --build --detach --wait triton")
        started = other.inspect("triton", "{{.State.StartedAt}}")
        # Asked without the settings that it was started with, as in another shell.
        output = other.compose("run --rm -T --no-deps client classify --json /samples/coffee.jpg", MODEL="", WEIGHTS="")
        assert json_lines(output)[0]["model"] == "squeezenet1_1"
        assert other.inspect("triton", "{{.State.StartedAt}}") == started
        assert answers(f"{cpu_stack.url}/v2/models/{NAME}/ready")
        other.compose("stop triton")
        assert other.inspect("triton", "{{.State.ExitCode}}") == "0"
        assert answers(f"{cpu_stack.url}/v2/models/{NAME}/ready")


def test_an_up_that_fails_says_why_and_starts_no_server(make_stack: MakeStack) -> None:
    with make_stack("fails", CPU_FILES, MODEL="resnet51") as stack:
        with pytest.raises(Exception, match=r"exporter.*complete successfully: exit 3"):
            stack.compose("up --build --detach --wait triton")
        assert "torchvision has no classifier of that name" in stack.compose("logs --no-color exporter")
        assert stack.compose("ps --quiet --status running").strip() == ""
        assert list(stack.repository.iterdir()) == []
        mistakes: Any = {"TOP_K": "many", "PREFERRED_BATCH": "99", "GRPC_PORT": stack.settings["HTTP_PORT"]}
        with pytest.raises(Exception, match=r"prepare.*complete successfully: exit 2"):
            stack.compose("up --detach --wait triton", **mistakes)
        said = stack.compose("logs --no-color prepare")
        assert all(f"{key}={value}" in said for key, value in mistakes.items())


def test_a_server_that_cannot_start_is_tried_again_and_its_error_is_said(make_stack: MakeStack) -> None:
    with make_stack("empty", CPU_FILES) as stack:
        with pytest.raises(Exception, match="triton-1 is unhealthy"):
            stack.compose("up --build --detach --no-deps --wait triton")
        assert "fix: run the builder" in stack.compose("logs --no-color triton")
        wait_for(lambda: int(stack.inspect("triton", "{{.RestartCount}}")) > 3, 60, every=0.5)


def test_an_image_holds_its_own_stage_and_no_compiler(cpu_stack: ComposeStack) -> None:
    listed = cpu_stack.compose("run --rm -T --no-deps --entrypoint sh client -c 'ls /app/services; command -v gcc pip uv || true'")
    assert set(listed.split()) == {"__init__.py", "core", "images", "numerics", "client"}


@pytest.mark.parametrize("service", ["exporter", "builder", "triton", "client"])
def test_an_image_says_what_it_is(cpu_stack: ComposeStack, service: str) -> None:
    image = cpu_stack.inspect(service, "{{.Image}}")
    labels = json.loads(
        subprocess.run(
            ["docker", "image", "inspect", "-f", "{{json .Config.Labels}}", image], capture_output=True, text=True, check=True
        ).stdout
    )
    kind = {"triton": "server (CPU)"}.get(service, service)
    assert labels["org.opencontainers.image.title"] == f"tensorrt-to-triton {kind}"
    assert labels["org.opencontainers.image.version"] == services.__version__
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_a_server_whose_backend_died_is_started_again_and_gets_healthy(cpu_stack: ComposeStack) -> None:
    """Triton itself never notices: it answers every request with 500, and says that it is ready."""
    restarts = int(cpu_stack.inspect("triton", "{{.RestartCount}}"))
    cpu_stack.compose(f"exec -T triton /opt/venv/bin/python -c '{KILL_THE_STUBS}'")
    wait_for(lambda: int(cpu_stack.inspect("triton", "{{.RestartCount}}")) == restarts + 1, 120, every=0.5)
    wait_for(lambda: cpu_stack.inspect("triton", "{{.State.Health.Status}}") == "healthy", 120, every=0.5)
    assert "the server no longer answers" in cpu_stack.compose("logs --no-color triton")
    verified = json_lines(cpu_stack.compose("run --rm -T --no-deps client verify --json"))[-1]
    assert verified["top1_agreement"] == 1.0
