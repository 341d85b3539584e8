"""The virtual environment grows by what it lacks, and what runs in it goes on. Its Python is a stand-in that notes what it is asked."""

import re
import shutil
import subprocess

import pytest

# Of a file that pip is given by a descriptor, the content is kept: in given--requirement or given--constraint.
PYTHON = """#!/bin/sh
[ "$1" = -c ] && exec echo 3.11
said= option=
for word; do
  case $word in /dev/fd/*) cat "$word" >"given$option" && word=GIVEN ;; esac
  said="$said $word" option=$word
done
echo "${said# }" >>asked
"""


@pytest.fixture
def clone(tmp_path, root):
    for name in ("scripts", "requirements"):
        shutil.copytree(root / name, tmp_path / name)
    (tmp_path / ".stack").mkdir()
    server = tmp_path / "elsewhere/lib/python3.11/site-packages/pytriton/tritonserver"
    for folder in (tmp_path / "bin", tmp_path / "elsewhere/bin", server / "backends/python", server / "python_backend_stubs/3.11"):
        folder.mkdir(parents=True)
    (tmp_path / ".venv").symlink_to("elsewhere")
    stand_ins = {
        "bin/good": PYTHON,
        "elsewhere/bin/python": PYTHON,
        "bin/nvidia-smi": "#!/bin/sh\nexit 9\n",
        "bin/ldconfig": "#!/bin/sh\necho libpython3.11.so.1.0\n",
        "bin/python3.11": '#!/bin/sh\n[ "$1" = -c ] || { echo "$*" >>asked; cp bin/good .venv/bin/python; }\n',
    }
    for name, text in stand_ins.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (server / "python_backend_stubs/3.11/triton_python_backend_stub").write_text("the one for 3.11")
    return tmp_path


@pytest.fixture
def make(clone):
    """Make an environment, and return what Python was asked to do for it."""

    def make(name):
        code = 'source scripts/common.sh; PATH=$PWD/bin:$PATH; source scripts/environment.sh; make_environment "$1"'
        done = subprocess.run(["bash", "-c", code, "bash", name], cwd=clone, capture_output=True, text=True, timeout=20)
        assert done.returncode == 0, done.stderr
        asked = clone / "asked"
        lines = asked.read_text().splitlines() if asked.exists() else []
        asked.unlink(missing_ok=True)
        return lines

    return make


HASHED = "-m pip install --no-deps --require-hashes --requirement GIVEN"
TORCH = "-m pip install --constraint GIVEN torch torchvision"


def test_each_is_made_once_and_the_largest_holds_the_others(make):
    assert make("dev") == [HASHED]
    assert make("dev") == []
    assert make("local") == [HASHED, TORCH]
    assert make("test") == [HASHED, TORCH]
    assert make("dev") == make("local") == make("test") == []


def test_a_hash_is_demanded_of_all_packages_but_torch(make, clone, root):
    make("test")
    lock = re.sub(r"(?m)^ *#.*\n", "", (root / "requirements/test.lock").read_text())
    hashed = re.sub(r"(?m)^ *#.*\n", "", (clone / "given--requirement").read_text())
    torch = re.findall(r"(?m)^torch(?:vision)?==.*\n(?: .*\n)+", lock)
    assert len(torch) == 2
    assert hashed == lock.replace("".join(torch), "")
    assert (clone / "given--constraint").read_text().split() == re.findall(r"(?m)^\S+==\S+", lock)


def test_the_largest_first_leaves_nothing_to_do(make):
    make("test")
    assert make("dev") == make("local") == []


def test_a_changed_lock_file_is_installed_into_what_is_there(make, clone):
    make("test")
    with (clone / "requirements" / "test.lock").open("a") as lock:
        lock.write("wheel==1.0\n")
    assert make("test") == [HASHED, TORCH]


def test_a_gpu_gets_its_packages_once_and_again_after_others_may_lie_over_them(make, clone):
    (clone / "bin/nvidia-smi").write_text("#!/bin/sh\necho 580.159.04, 9.0\n")
    for_gpu = [
        "-m pip uninstall --yes onnxruntime onnxruntime-gpu",
        HASHED,
        "-m pip install --constraint GIVEN onnxruntime-gpu[cuda,cudnn] nvidia-dali-cuda130",
    ]
    assert make("dev") == [HASHED]
    assert make("local") == [HASHED, TORCH, *for_gpu]
    assert make("local") == []
    assert make("test") == [HASHED, TORCH, *for_gpu]
    assert make("local") == make("test") == make("dev") == []


@pytest.mark.parametrize("found", ["575.57.08, 9.0", "580.65, 7.0", "", "No devices were found"])
def test_a_gpu_that_is_too_old_is_left_alone(make, clone, found):
    (clone / "bin/nvidia-smi").write_text(f"#!/bin/sh\necho '{found}'\n")
    assert make("local") == [HASHED, TORCH]


def test_a_server_that_runs_keeps_its_stub(make, clone):
    (stub,) = clone.glob("elsewhere/lib/*/site-packages/pytriton/tritonserver/backends/python")
    stub /= "triton_python_backend_stub"
    shutil.copy("/bin/sleep", stub)
    with subprocess.Popen([stub, "60"]) as running:
        try:
            make("local")
            assert stub.read_text() == "the one for 3.11"
            assert running.poll() is None
        finally:
            running.kill()


def test_a_python_that_is_gone_is_replaced_behind_the_link(make, clone):
    (clone / "elsewhere/bin/python").write_text("#!/bin/sh\nexit 1\n")
    assert make("dev") == [f"-m venv --clear {clone}/elsewhere", HASHED]
    assert (clone / ".venv").is_symlink()


@pytest.mark.parametrize("name", ["check", "test", "lock"])
def test_help_teaches_and_a_wrong_word_shows_the_usage(root, name):
    told = subprocess.run([f"scripts/{name}", "--help"], cwd=root, capture_output=True, text=True, timeout=20)
    assert told.returncode == 0
    assert f"scripts/{name} " in told.stdout
    wrong = subprocess.run([f"scripts/{name}", "unti"], cwd=root, capture_output=True, text=True, timeout=20)
    assert wrong.returncode == 2
    assert told.stdout in wrong.stderr
    assert "unti" in wrong.stderr.splitlines()[-2]
