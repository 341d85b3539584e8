"""scripts/up, down, classify and builder where they refuse, and what they hand over. Docker is a stand-in."""

import json
import os
import re
import socket
import subprocess

import pytest

from services.core.settings.reference import keys
from tests.checkout import copy_checkout, link_environment
from tests.ports import free_ports

DOORS = ("up", "down", "classify", "builder", "doctor", "test", "check", "lock", "sbom", "bench", "tune", "keys", "backup", "restore")

# An engine and a Compose that note what they are asked; `state` holds what they tell.
DOCKER = """#!/bin/bash
{ printf '%s ' "$@"; echo; } >>"$CLONE/asked"
case "$*" in
  "compose config"*) cat "$CLONE/config.json" ;;
  *"--file - config"*) exit 1 ;;
  "ps --all"*) cat "$CLONE/folders" ;;
  "compose ps"*running*) [ ! -e "$CLONE/running" ] || echo id ;;
  "compose version"*) echo 2.26.1 ;;
  "buildx version"*) echo v0.13 ;;
  "version"*) echo 20.10 ;;
  "compose run"*prepare*) [ ! -e "$CLONE/bad-settings" ] || exit 2 ;;
  "compose build"*) seq 2000 ; [ ! -e "$CLONE/bad-build" ] || exit 1 ;;
  "compose run"*" client "*) env | grep -E '^(MODEL|TOP_K|COMPOSE_FILE)=' >>"$CLONE/asked" ;;
esac
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A clean copy whose path has a blank."""
    clone = copy_checkout(tmp_path_factory.mktemp("copies") / "a clone")
    link_environment(clone, "launcher", "dev", "local")
    return clone


@pytest.fixture
def clone(copy):
    """The copy without state; its PATH has stand-ins first, by default an engine and a GPU that do not answer."""
    subprocess.run(["rm", "-rf", copy / ".stack", copy / "asked", copy / "running", copy / "bad-build", copy / "bad-settings"], check=True)
    for name in ("docker", "nvidia-smi"):
        stand_in(copy, name, "#!/bin/sh\nexit 1\n")
    (copy / ".env").write_text((copy / ".env").read_text().split("\n# a test's own\n")[0] + "\n# a test's own\n")
    return copy


def stand_in(clone, name, text):
    (clone / "bin").mkdir(exist_ok=True)
    (clone / "bin" / name).write_text(text)
    (clone / "bin" / name).chmod(0o755)


def run(clone, *command, folder=None, **environ):
    env = {key: value for key, value in os.environ.items() if key not in keys() | {"COMPOSE_FILE", "COMPOSE_PROJECT_NAME", "LAUNCHER"}}
    env |= {"PATH": f"{clone}/bin:{os.environ['PATH']}", "CLONE": str(clone), **environ}
    return subprocess.run(command, cwd=folder or clone, env=env, capture_output=True, text=True, timeout=60)


def asked(clone):
    return (clone / "asked").read_text()


@pytest.fixture
def ports():
    return dict(zip(("HTTP_PORT", "GRPC_PORT", "METRICS_PORT"), map(str, free_ports(3)), strict=True))


@pytest.fixture
def docker(clone, ports):
    """An engine that does as it is told, with nothing running."""
    stand_in(clone, "docker", DOCKER)
    (clone / "folders").write_text("")
    published = [{"target": target, "published": port} for target, port in zip((8000, 8001, 8002), ports.values(), strict=True)]
    services = {"exporter": {"environment": {"MODEL": "efficientnet_lite0"}}, "triton": {"ports": published}}
    (clone / "config.json").write_text(json.dumps({"name": "aclone", "services": services}))
    return clone


@pytest.mark.parametrize("name", DOORS)
def test_help_is_the_head_of_the_script(clone, name):
    done = run(clone, f"scripts/{name}", "--help")
    assert done.returncode == 0
    assert f"scripts/{name}" in done.stdout
    assert "#" not in done.stdout
    assert not done.stderr


def test_the_help_of_up_names_every_launcher_with_its_needs_and_every_script(clone):
    text = run(clone, "scripts/up", "--help").stdout
    assert {f"scripts/{name}" for name in DOORS} <= set(re.findall(r"scripts/\w+", text))
    for needed in ("--gpu", "R580", "7.5", "1.17.8", "--cpu", "2.24.4", "buildx", "--local", "glibc 2.35", "3.11", "60 GB", "8 GB", "6 GB"):
        assert needed in text, needed


@pytest.mark.parametrize(("door", "stage"), [("classify", "client"), ("builder", "builder")])
def test_the_help_of_a_door_names_every_option_of_its_stage(clone, run_python, door, stage):
    code = f"from services.{stage}.__main__ import main; main(['--help'])"
    options = set(re.findall(r"--[a-z][a-z-]+", run_python(code, environment={"LAUNCHER": "cpu"}).stdout))
    text = run(clone, f"scripts/{door}", "--help").stdout
    assert len(options) > 3
    assert {option for option in options if f"{option} " not in text.replace("]", " ").replace(":", " ")} == set()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["add"], 2, "expected add NAME, revoke NAME or list"),
        (["add", "a:b"], 2, "a letter or digit first"),
        (["list"], 8, "docker compose does not tell the settings"),
    ],
)
def test_keys_says_what_it_cannot_do(clone, words, code, said):
    done = run(clone, "scripts/keys", *words)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert "fix:" in done.stderr


def test_the_help_of_tune_names_every_option(clone, run_python):
    told = run_python("from benchmarks.tune import parse_arguments; parse_arguments(['--help'])").stdout
    options = set(re.findall(r"--[a-z][a-z0-9-]+", told)) - {"--builder"}
    assert {option for option in options if f"{option} " not in run(clone, "scripts/tune", "--help").stdout} == set()


@pytest.mark.parametrize(
    "command",
    [
        ("scripts/up", "--gpus"),
        ("scripts/up", "resnet18"),
        ("scripts/up", "--local", "--force"),
        ("scripts/down", "now"),
        ("scripts/classify",),
        ("scripts/builder",),
        ("scripts/tune", "--p9=20ms"),
        ("scripts/doctor", "--jsn"),
        ("scripts/sbom", "buider"),
        ("scripts/restore",),
        ("scripts/restore", "--dry-run"),
    ],
)
def test_a_wrong_word_shows_the_usage(clone, command):
    done = run(clone, *command)
    assert done.returncode == 2
    assert command[0] in done.stderr
    assert "usage:" in done.stderr
    assert not (clone / ".stack").exists()


def test_no_picture_is_named_by_an_empty_word(clone):
    done = run(clone, "scripts/classify", "samples/coffee.jpg", "")
    assert done.returncode == 2
    assert 'a picture named ""' in done.stderr


@pytest.mark.parametrize(
    "command",
    [("scripts/classify", "x.jpg"), ("scripts/builder", "list"), ("scripts/tune",), ("scripts/backup",), ("scripts/restore", "x.tar")],
)
def test_what_runs_nowhere_cannot_be_asked(clone, command):
    done = run(clone, *command)
    assert done.returncode == 8
    assert "scripts/up" in done.stderr
    assert run(clone, "scripts/down").returncode == 0


def test_another_launcher_in_use_is_not_mixed_in(clone):
    (clone / ".stack").mkdir()
    (clone / ".stack" / "launcher").write_text("cpu\n")
    done = run(clone, "scripts/up", "--local")
    assert done.returncode == 8
    assert "the launcher cpu is in use" in done.stderr


class TestLocal:
    def test_a_taken_port_is_named_before_anything_is_made(self, clone, ports):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = str(listener.getsockname()[1])
            done = run(clone, "scripts/up", "--local", **ports | {"HTTP_PORT": port})
        assert done.returncode == 8
        assert f"port {port} is taken (HTTP_PORT)" in done.stderr
        assert not (clone / "artifacts").exists()
        assert not (clone / ".stack" / "launcher").exists()

    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({"HTTP_PORT": "abc"}, "HTTP_PORT=abc"),
            ({"GRPC_PORT": "99999"}, "GRPC_PORT=99999"),
            ({"HTTP_PORT": "8001"}, "three different ports"),
            ({"TOP_K": "many"}, "TOP_K=many"),
            ({"PRECISION": "fp17", "CROP": "-1"}, "PRECISION=fp17"),
        ],
    )
    def test_a_setting_that_cannot_be_is_named_before_the_first_stage(self, clone, settings, said):
        done = run(clone, "scripts/up", "--local", **settings)
        assert done.returncode == 2
        assert said in done.stderr
        assert "exporter" not in done.stderr

    def test_a_misspelt_key_of_dotenv_is_named(self, clone):
        with (clone / ".env").open("a") as file:
            file.write("PRECISON=fp16\n")
        done = run(clone, "scripts/up", "--local")
        assert done.returncode == 2
        assert "PRECISON: there is no such setting; did you mean PRECISION?" in done.stderr

    def test_quotes_and_comments_of_dotenv_mean_nothing(self, clone, ports):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            with (clone / ".env").open("a") as file:
                file.write(f'HTTP_PORT="{port}" # http\nGRPC_PORT={ports["GRPC_PORT"]} # gRPC\n')
            done = run(clone, "scripts/up", "--local")
        assert f"port {port} is taken (HTTP_PORT)" in done.stderr


class TestDocker:
    def test_without_an_engine_it_says_so(self, clone):
        done = run(clone, "scripts/up", "--cpu")
        assert done.returncode == 8
        assert "error: Docker engine: found no engine that answers" in done.stderr

    def test_without_a_gpu_it_says_so(self, clone):
        done = run(clone, "scripts/up", "--gpu")
        assert done.returncode == 8
        assert "error: NVIDIA driver: found none" in done.stderr

    def test_settings_are_checked_before_the_large_images_are_built(self, docker, ports):
        (docker / "bad-settings").touch()
        with (docker / ".env").open("a") as file:
            file.write("PRECISON=fp16\n")
        done = run(docker, "scripts/up", "--cpu", **ports)
        assert done.returncode == 2
        lines = asked(docker)
        assert lines.count("compose build") == 1
        assert "compose build prepare" in lines
        assert "PRECISON prepare" in lines
        assert "compose down" in lines
        assert not (docker / ".stack" / "launcher").exists()

    def test_the_stages_run_in_their_order_and_the_builds_lines_are_kept_away(self, docker, ports):
        done = run(docker, "scripts/up", "--cpu", **ports)
        assert done.returncode == 0, done.stderr
        assert len(done.stderr.splitlines()) < 20
        assert (docker / ".stack" / "build.log").read_text().count("\n") == 2000
        order = [asked(docker).index(word) for word in ("prepare", "exporter", "builder", "up --detach", "client classify")]
        assert order == sorted(order)
        assert "--env LAUNCHER" in asked(docker)
        assert f"http://127.0.0.1:{ports['METRICS_PORT']}/metrics" in done.stdout

    def test_the_end_of_a_failed_build_is_shown(self, docker, ports):
        (docker / "bad-build").touch()
        done = run(docker, "scripts/up", "--cpu", **ports)
        assert done.returncode == 5
        assert "2000" in done.stderr
        assert "all of its output: .stack/build.log" in done.stderr

    @pytest.mark.parametrize("settings", [{"HTTP_PORT": "abc"}, {"GRPC_PORT": "99999"}, {"HTTP_PORT": "18001", "GRPC_PORT": "18001"}])
    def test_a_port_that_cannot_be_is_named_at_once(self, docker, ports, settings):
        done = run(docker, "scripts/up", "--cpu", **ports | settings)
        assert done.returncode == 8
        assert next(iter(settings)) in done.stderr or "HTTP_PORT" in done.stderr
        assert "Traceback" not in done.stderr
        assert "compose build" not in asked(docker)

    def test_the_project_of_another_folder_is_left_alone(self, docker, ports):
        (docker / "folders").write_text(f"{docker}\n/home/me/other/aclone\n")
        done = run(docker, "scripts/up", "--cpu", **ports)
        assert done.returncode == 8
        assert "/home/me/other/aclone" in done.stderr
        assert "COMPOSE_PROJECT_NAME=aclone2" in done.stderr
        assert "compose down" not in asked(docker)

    def test_down_takes_the_project_that_up_was_given(self, docker, ports):
        assert run(docker, "scripts/up", "--cpu", COMPOSE_PROJECT_NAME="second", **ports).returncode == 0
        stand_in(docker, "docker", DOCKER + 'echo "project $COMPOSE_PROJECT_NAME" >>"$CLONE/asked"\n')
        assert run(docker, "scripts/down").returncode == 0
        assert asked(docker).splitlines()[-1] == "project second"
        assert not (docker / ".stack" / "launcher").exists()

    def test_tune_wants_a_server_and_the_engine_that_is_served(self, docker, ports):
        assert run(docker, "scripts/up", "--cpu", **ports).returncode == 0
        done = run(docker, "scripts/tune")
        assert done.returncode == 8
        assert "the server does not run" in done.stderr
        (docker / "running").touch()
        plan = json.dumps({"model": "m", "live": 2, "engine": "other", "up_to_date": False})
        stand_in(docker, "docker", DOCKER + f'case "$*" in *" builder build --dry-run --json") echo \'{plan}\' ;; esac\n')
        done = run(docker, "scripts/tune")
        assert done.returncode == 2, done.stderr
        assert "another engine of m than version 2, which is served" in done.stderr
        assert run(docker, "scripts/tune", "--p99", "soon").returncode == 2

    def test_the_builder_gets_what_up_was_given_and_the_client_asks_for_what_is_served(self, docker, ports):
        assert run(docker, "scripts/up", "--cpu", MODEL="resnet18", TOP_K="3", **ports).returncode == 0
        (docker / "asked").unlink()
        assert run(docker, "scripts/classify", "samples/coffee.jpg").returncode == 0
        assert "TOP_K=3" in asked(docker)
        assert "MODEL=resnet18" not in asked(docker)
        assert "--env MODEL= --env MODEL_NAME= client" in asked(docker)
        stand_in(docker, "docker", '#!/bin/sh\necho "$MODEL $*"\n')
        assert run(docker, "scripts/builder", "rollback", "2").stdout.endswith(
            "resnet18 compose run --rm --no-deps --env LAUNCHER builder rollback 2\n"
        )
        assert run(docker, "scripts/builder", "list", MODEL="other").stdout.startswith("other ")

    def test_a_backup_goes_where_the_caller_is_and_by_a_pipe(self, docker, ports, tmp_path):
        assert run(docker, "scripts/up", "--cpu", **ports).returncode == 0
        asked_last = "compose run --rm --no-deps --env LAUNCHER "
        for words, told in (
            (("backup", "new/b.tar", "--json"), f"--volume {tmp_path}/new:/backups builder backup /backups/b.tar --json "),
            (("backup", "-"), "-T builder backup - "),
            (("restore", "-", "--model", "a"), "-T builder restore - --model a "),
            (("builder", "backup", "/tmp/b.tar"), "--volume /tmp:/backups builder backup /backups/b.tar "),
        ):
            done = run(docker, f"{docker}/scripts/{words[0]}", *words[1:], folder=tmp_path)
            assert done.returncode == 0, done.stderr
            assert asked(docker).splitlines()[-1] == asked_last + told
        assert run(docker, "scripts/backup").returncode == 0
        assert re.search(rf"--volume {docker}/backups:/backups builder backup /backups/[\dT-]+\.tar $", asked(docker))
        missing = run(docker, "scripts/restore", "missing.tar")
        assert missing.returncode == 2
        assert f"there is no file {docker}/missing.tar" in missing.stderr
        (tmp_path / "co:lon").mkdir()
        assert "has a colon" in run(docker, "scripts/backup", f"{tmp_path}/co:lon/b.tar").stderr

    def test_an_empty_variable_of_the_shell_counts_as_unset(self, docker, ports):
        stand_in(docker, "docker", DOCKER + 'echo "has ${PRECISION-none}" >>"$CLONE/asked"\n')
        run(docker, "scripts/up", "--cpu", PRECISION="", **ports)
        assert "has none" in asked(docker)
        assert "has \n" not in asked(docker)

    def test_pictures_are_found_where_the_caller_is(self, docker, ports, tmp_path):
        assert run(docker, "scripts/up", "--cpu", **ports).returncode == 0
        (tmp_path / "co:lon.jpg").touch()
        stand_in(docker, "docker", DOCKER + 'case $COMPOSE_FILE in *pictures*) cat "${COMPOSE_FILE##*:}" >"$CLONE/mounts" ;; esac\n')
        assert run(docker, f"{docker}/scripts/classify", "co:lon.jpg", "--json", folder=tmp_path).returncode == 0
        (volume,) = json.loads((docker / "mounts").read_text())["services"]["client"]["volumes"]
        assert volume["source"] == str(tmp_path / "co:lon.jpg")
        assert f"client {tmp_path}/co:lon.jpg --json" in asked(docker)
        assert list((docker / ".stack").glob("pictures*")) == []


def test_a_failing_step_shows_its_output_and_a_passing_one_does_not(clone):
    (clone / ".stack").mkdir()
    script = "source scripts/common.sh; step good sh -c 'echo quiet'; step bad sh -c 'echo loud; exit 3'"
    done = run(clone, "bash", "-c", script)
    assert done.returncode == 5
    assert "quiet" not in done.stderr
    assert "loud" in done.stderr
    assert "bad failed (exit code 3" in done.stderr
