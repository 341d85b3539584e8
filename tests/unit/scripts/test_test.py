"""scripts/test: which tiers are run, with what, and what its exit code says. pytest is a stand-in."""

import shutil
import subprocess

import pytest

# Notes its arguments, and ends with the code that stands in a file of the tier's name.
PYTHON = """#!/bin/sh
case "$*" in
  -c*) echo 3.11 ;;
  "-m pip"*) ;;
  *) echo "$*" >>asked
     tier=${3#tests/}
     [ ! -e "code-$tier" ] || exit "$(cat "code-$tier")" ;;
esac
"""


@pytest.fixture
def clone(tmp_path, root):
    for name in ("scripts", "requirements"):
        shutil.copytree(root / name, tmp_path / name)
    stub = "pytriton/tritonserver/python_backend_stubs/3.11/triton_python_backend_stub"
    for name in (f".venv/lib/python3.11/site-packages/{stub}", "tests/unit/test_card.py"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    (tmp_path / ".venv/lib/python3.11/site-packages/pytriton/tritonserver/backends/python").mkdir(parents=True)
    refuses = "#!/bin/sh\nexit 1\n"
    stand_ins = {
        ".venv/bin/python": PYTHON,
        "scripts/check": "#!/bin/sh\necho check >>asked\n",
        "bin/docker": refuses,
        "bin/nvidia-smi": refuses,
        "bin/ldconfig": "#!/bin/sh\necho libpython3.11.so.1.0\n",
    }
    for name, text in stand_ins.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return tmp_path


@pytest.fixture
def run(clone):
    def run(*arguments, code=0):
        path = f"{clone}/bin:/usr/bin:/bin"
        done = subprocess.run(["scripts/test", *arguments], cwd=clone, env={"PATH": path}, capture_output=True, text=True, timeout=20)
        assert done.returncode == code, done.stderr
        asked = clone / "asked"
        return (asked.read_text().splitlines() if asked.exists() else []), done.stderr

    return run


def tiers(asked):
    return [line.split()[2] for line in asked if line.startswith("-m pytest")]


def test_everything_is_checked_run_and_measured_and_what_cannot_run_is_named(run):
    asked, told = run()
    assert asked[0] == "check"
    assert tiers(asked) == ["tests/unit", "tests/contract", "tests/attack", "tests/local"]
    assert ["--cov" in line for line in asked[1:5]] == [True, True, False, True]  # attack measures time and memory itself
    assert asked[5:] == ["-m coverage report"]
    assert "docker: skipped, no Docker engine answers" in told
    assert "gpu: skipped, no NVIDIA GPU" in told
    assert "unit: 0 s, budget 15 s" in told


def test_named_tiers_alone_are_run_and_options_reach_pytest(run):
    asked, _ = run("unit", "contract", "-k", "card", "-x")
    assert tiers(asked) == ["tests/unit", "tests/contract"]
    assert all(line.endswith("-k card -x") and "--cov" not in line for line in asked)


def test_a_file_is_run_by_itself(run):
    assert run("tests/unit/test_card.py", "-x")[0] == ["-m pytest tests/unit/test_card.py -x"]


def test_the_tiers_after_a_failed_one_are_run_too(run, clone):
    (clone / "code-contract").write_text("1")
    asked, told = run(code=1)
    assert tiers(asked) == ["tests/unit", "tests/contract", "tests/attack", "tests/local"]
    assert "error: failed: contract" in told


def test_a_name_may_be_found_in_one_tier_only(run, clone):
    (clone / "code-unit").write_text("5")
    run("unit", "contract", "-k", "card")
    (clone / "code-contract").write_text("5")
    assert "no test matches: -k card" in run("unit", "contract", "-k", "card", code=1)[1]


def test_what_pytest_does_not_know_shows_the_usage(run, clone):
    (clone / "code-unit").write_text("4")
    assert "usage: scripts/test" in run("unit", "--durationz=3", code=2)[1]
