"""Every trtexec command line of the builder is one that TensorRT 10.16, 11.1 and 11.2 take without a complaint."""

from pathlib import Path

import pytest

from services.builder.compilers.base import Profile
from services.builder.compilers.tensorrt import build_argv, plan_version_argv, profile_argv
from simulator.command_line import parse
from simulator.machine import Machine
from simulator.options import read_table

VERSIONS = ["10.16.1.11", "11.1.0.106", "11.2.1.2"]
P = Path("/work folder/a")


def command_lines(version: str) -> dict[str, list[str]]:
    build = build_argv("trtexec", P / "net.onnx", P / "net.plan", P / "t.cache", "images", (224, 224, 3), Profile(8, 32), 4096, version)
    return {
        "build": build,
        "profile": profile_argv("trtexec", P / "net.plan", "images:8x224x224x3", P / "times.json", P / "layers.json"),
        "version": plan_version_argv("trtexec", P / "net.plan"),
    }


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("which", ["build", "profile", "version"])
def test_every_option_is_known_and_none_is_deprecated(version: str, which: str) -> None:
    machine = Machine.from_env({"SIMULATOR_TENSORRT": version})
    options = parse(command_lines(version)[which][1:], read_table(machine.table), machine.major)
    assert options.unknown == []
    assert options.warnings == []


@pytest.mark.parametrize("version", VERSIONS)
def test_the_build_asks_for_the_profile_and_for_what_the_graph_says(version: str) -> None:
    machine = Machine.from_env({"SIMULATOR_TENSORRT": version})
    options = parse(command_lines(version)["build"][1:], read_table(machine.table), machine.major)
    assert options.profiles == [{"images": ([1, 224, 224, 3], [8, 224, 224, 3], [32, 224, 224, 3])}]
    assert options.get("--memPoolSize") == {"workspace": 4096 * 2**20}
    assert options.get("--profilingVerbosity") == "detailed"
    # 10 types weakly unless it is told; 11 always types strongly.
    assert bool(options.get("--stronglyTyped")) == (machine.major < 11)


def test_the_tables_tell_the_versions_apart() -> None:
    tables = {version: read_table(Machine.from_env({"SIMULATOR_TENSORRT": version}).table) for version in VERSIONS}
    assert "--fp16" in tables["10.16.1.11"]
    assert "--fp16" not in tables["11.1.0.106"]
    assert "--includeDataTransfers" not in tables["10.16.1.11"]
    assert "--includeDataTransfers" in tables["11.2.1.2"]
    assert not any("--explicitBatch" in table for table in tables.values())
