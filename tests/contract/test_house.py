"""The lock files, the version, the tiers and the workflow say the same wherever they are said."""

import itertools
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import services
from tests.conftest import TIME_LIMITS

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
LOCKS = sorted(path.stem for path in (ROOT / "requirements").glob("*.lock"))
NOT_PINNED = {"exporter": {"torch", "torchvision"}, "gpu": {"onnxruntime"}}
"""By the base image, and what another package takes the place of."""


def pins(extra: str) -> dict[str, str]:
    lines = re.findall(r"^([\w.-]+)==(\S+) \\$", (ROOT / "requirements" / f"{extra}.lock").read_text(), re.MULTILINE)
    return {canonicalize_name(name): version for name, version in lines}


def asked(extra: str) -> list[Requirement]:
    """What an extra asks for, with that of the extras it is made of."""
    found = []
    for requirement in map(Requirement, EXTRAS[extra]):
        own = requirement.name == PROJECT["name"]
        found += [inner for part in requirement.extras for inner in asked(part)] if own else [requirement]
    return found


def test_every_extra_has_its_lock_file():
    assert sorted(EXTRAS) == LOCKS


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_lock_file_pins_what_its_extra_asks_for(extra):
    pinned = pins(extra)
    for requirement in asked(extra):
        name = canonicalize_name(requirement.name)
        if name not in NOT_PINNED.get(extra, ()):
            assert requirement.specifier.contains(pinned[name]), f"{requirement}: run scripts/lock"


@pytest.mark.parametrize(("part", "whole"), [("launcher", "dev"), ("launcher", "local"), ("dev", "test"), ("local", "test")])
def test_one_environment_can_grow(part, whole):
    """What is installed for less stays as it is when more is asked for."""
    assert pins(part).items() <= pins(whole).items()


def test_a_gpu_takes_the_place_of_one_package():
    assert {name for name, _ in pins("local").items() - pins("gpu").items()} == {"onnxruntime"}
    added = pins("gpu").items() - pins("local").items() - {("onnxruntime-gpu", pins("gpu")["onnxruntime-gpu"])}
    assert added <= pins("test").items()  # DALI, which runs without a GPU, too


def test_checks_and_unit_tests_need_neither_torch_nor_a_server():
    assert not {"torch", "torchvision", "nvidia-pytriton", "tensorrt-rtx"} & pins("dev").keys()


@pytest.mark.parametrize("extra", LOCKS)
def test_every_pin_has_a_hash(extra):
    lines = (ROOT / "requirements" / f"{extra}.lock").read_text().splitlines()
    after = {line: next_line for line, next_line in itertools.pairwise(lines) if re.match(r"[^\s#]", line)}
    assert len(after) == len(pins(extra))
    assert {line for line, next_line in after.items() if not re.match(r"    --hash=sha256:[0-9a-f]{64}\b", next_line)} == set()


@pytest.mark.parametrize("extra", LOCKS)
def test_no_index_is_named(extra):
    assert not re.search(r"://|^-", (ROOT / "requirements" / f"{extra}.lock").read_text(), re.MULTILINE)


def test_the_version_is_one():
    """The label of the images is the one place besides, as no image can compute it."""
    assert re.fullmatch(r"\d+\.\d+\.\d+", services.__version__)
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    named = re.compile(rf"(?i)version\S*[\"'= :-]+v?{re.escape(services.__version__)}\b")
    names = {name for name in tracked if (ROOT / name).is_file() and not name.endswith((".lock", ".jpg"))}
    assert {name for name in names if named.search((ROOT / name).read_text(errors="replace"))} <= {
        "services/__init__.py",
        "services/Dockerfile",
    }
    labels = [found for name in names if "Dockerfile" in name for found in re.findall(r"ARG VERSION=(\S+)", (ROOT / name).read_text())]
    assert set(labels) <= {services.__version__}


def test_the_package_holds_the_services_and_their_version(tmp_path):
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "services", tmp_path / "services", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", "out", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    (wheel,) = (tmp_path / "out").iterdir()
    assert wheel.name.startswith(f"tensorrt_to_triton-{services.__version__}-")
    with zipfile.ZipFile(wheel) as packed:
        held = {name for name in packed.namelist() if not name.partition("/")[0].endswith(".dist-info")}
    wanted = {str(path.relative_to(ROOT)) for path in (ROOT / "services").rglob("*.py")}
    assert {name for name in held if name.endswith(".py")} == wanted
    assert all(name.startswith("services/") for name in held)


def test_every_tier_has_a_budget_and_a_time_limit():
    script = (ROOT / "scripts" / "test").read_text()
    (line,) = re.findall(r"budgets=\((.*?)\)", script)
    budgets = dict(re.findall(r"\[(\w+)\]=(\d+)", line))
    folders = {path.name for path in (ROOT / "tests").iterdir() if any(path.rglob("test_*.py"))}
    assert folders == budgets.keys() == TIME_LIMITS.keys()
    (order,) = re.findall(r"^ +tiers=\((.+)\)", script, re.MULTILINE)
    assert order.split() == list(TIME_LIMITS)


def test_the_workflow_has_a_job_for_each_part_and_runs_what_is_there():
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    jobs = re.findall(r"^  (\w+):\n    runs-on", workflow, re.MULTILINE)
    assert jobs == ["check", "unit", "local", "docker"]
    run = [line.split() for line in re.findall(r"- run: (scripts/.+)", workflow)]
    assert all((ROOT / words[0]).is_file() for words in run)
    tiers = [tier for words in run if words[0] == "scripts/test" for tier in words[1:]]
    assert sorted(tiers) == sorted(TIME_LIMITS.keys() - {"gpu"})
    actions = re.findall(r"uses: (\S+)", workflow)
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@v[\d.]+", action) for action in actions)
