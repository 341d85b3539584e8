"""A file is whole or absent, whatever happens to the process, the disk, or another process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from services.core.errors import RepositoryError
from services.core.files import (
    fingerprint_of,
    lock,
    open_regular,
    read_regular,
    remove_stale,
    scratch_folder,
    sha256_of,
    sync_tree,
    write_atomically,
)

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

WRITE_FOR_EVER = """
import itertools, sys
from pathlib import Path
from services.core.files import write_atomically
for number in itertools.count(1):
    write_atomically(Path(sys.argv[1]), f"{number}:" + str(number % 10) * 300_000)
    print(number, flush=True)
"""

FILL_SCRATCH = """
import numpy as np, onnx
from onnx import helper, numpy_helper
from services.core.errors import RepositoryError
from services.core.files import scratch_folder
from services.onnx_graphs.session import session
def weights():
    x, y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1 << 18]) for name in "xy")
    large = numpy_helper.from_array(np.ones(1 << 18, np.float32), "w")
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", [x], [y], [large])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
try:
    with scratch_folder() as folder:
        WRITE
except RepositoryError as error:
    print(f"{error}|{error.hint}")
"""

WRITE_ONCE = """
import sys
from pathlib import Path
from services.core.errors import RepositoryError
from services.core.files import write_atomically
try:
    write_atomically(Path(sys.argv[1]), "x" * 100_000)
except RepositoryError as error:
    print(f"{error}|{error.hint}")
"""

HOLD_LOCK = """
import sys, time
from pathlib import Path
from services.core.files import lock
with lock(Path(sys.argv[1]), wait_seconds=0, on_wait=print):
    print("held", flush=True)
    time.sleep(60)
"""


def test_hash_is_over_the_content_of_all_files(tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_of(tmp_path / "empty") == EMPTY == sha256_of()
    assert sha256_of(tmp_path / "abc", tmp_path / "empty") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_fingerprint_ignores_the_order_of_keys_and_nothing_else():
    assert fingerprint_of({"a": 1, "b": [2]}) == fingerprint_of({"b": [2], "a": 1})
    assert len({fingerprint_of(value) for value in ({"a": 1}, {"a": 2}, {"a": "1"}, {"b": 1}, {})}) == 5


def test_a_write_replaces_the_file_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "deep" / "key"
    write_atomically(path, "old")
    write_atomically(path, b"new", mode=0o600)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["key"]


def test_a_writer_killed_at_any_moment_leaves_a_whole_file(start_python, tmp_path):
    path = tmp_path / "file"
    for delay in (0, 0.002, 0.005, 0.011):
        with start_python(WRITE_FOR_EVER, path) as process:
            assert process.stdout.readline()
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
            process.communicate()
        number, _, content = path.read_text().partition(":")
        assert content == str(int(number) % 10) * 300_000


def in_own_mounts(options: str, folder, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Write into a file system of its own, seen by that process alone."""
    script = 'mount -t tmpfs -o "$1" tmpfs "$2" && exec "$3" -c "$4" "$2/file"'
    argv = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", options, str(folder), sys.executable, code]
    result = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60, env={**os.environ, **environment})
    if result.returncode and ("unshare" in result.stderr or "mount" in result.stderr):
        pytest.skip(f"this machine lets nobody mount in a namespace: {result.stderr.strip()}")
    return result


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [("size=32k", "No space left on device", "free some space"), ("ro", "Read-only file system", "mount it writable")],
)
def test_a_disk_that_takes_nothing_is_one_error_with_its_fix(tmp_path, options, message, hint):
    result = in_own_mounts(options, tmp_path, WRITE_ONCE)
    assert result.stdout.startswith(f"cannot write in {tmp_path}: {message}|{hint}"), result.stderr


@pytest.mark.parametrize("write", ["(folder / 'file').write_bytes(bytes(1 << 20))", "session(weights(), save_to=folder / 'file')"])
def test_a_full_folder_for_temporary_files_is_one_error_with_its_fix(tmp_path, write):
    """ONNX Runtime says "Protobuf serialization failed" then."""
    result = in_own_mounts("size=512k", tmp_path, FILL_SCRATCH.replace("WRITE", write), TMPDIR=str(tmp_path))
    assert result.stdout.startswith(f"the folder for temporary files, {tmp_path}, is full: it holds 0.5 MiB|free some space"), result.stderr


def test_another_error_in_a_scratch_folder_stays_what_it_is_and_the_folder_goes():
    with pytest.raises(ZeroDivisionError), scratch_folder() as folder:
        _ = 1 / (folder / "none").exists()
    assert not folder.exists()


@pytest.mark.parametrize("below", ["x", "deep/x"])
def test_a_file_where_the_folder_should_be_is_named_and_kept(tmp_path, below):
    (tmp_path / "file").write_text("old")
    with pytest.raises(RepositoryError, match=f"cannot write in {tmp_path}/file") as caught:
        write_atomically(tmp_path / "file" / below, "new")
    assert "where a folder should be" in caught.value.hint
    assert (tmp_path / "file").read_text() == "old"


def test_a_folder_owned_by_another_says_whose_it_must_be(start_python, tmp_path):
    if os.getuid():
        pytest.skip("only root can become somebody else")
    tmp_path.chmod(0o755)
    for parent in list(tmp_path.parents)[:-2]:
        parent.chmod(parent.stat().st_mode | 0o005)
    code = "import os; import services.core.files; os.setgid(65534); os.setuid(65534)" + WRITE_ONCE
    with start_python(code, tmp_path / "file") as process:
        out, err = process.communicate(timeout=60)
    assert f"cannot write in {tmp_path}: Permission denied|make it writable for uid 65534" in out, err


def test_a_lock_keeps_another_process_out_and_names_it(start_python, tmp_path):
    told: list[str] = []
    with start_python(HOLD_LOCK, tmp_path / ".lock") as holder:
        assert holder.stdout.readline() == "held\n"
        start = time.monotonic()
        with (
            pytest.raises(RepositoryError, match=f"locked by process {holder.pid} on ") as caught,
            lock(tmp_path / ".lock", wait_seconds=0.3, on_wait=told.append),
        ):
            raise AssertionError("two holders of one lock")
        assert 0.3 <= time.monotonic() - start < 5
        assert len(told) == 1
        assert str(holder.pid) in told[0]
        assert "stop it" in caught.value.hint
        holder.kill()
        holder.communicate()


def test_the_lock_of_a_killed_process_is_free_at_once(start_python, tmp_path):
    with start_python(HOLD_LOCK, tmp_path / ".lock") as holder:
        assert holder.stdout.readline() == "held\n"
        holder.kill()
        holder.communicate()
    with lock(tmp_path / ".lock", wait_seconds=0, on_wait=pytest.fail):
        assert str(os.getpid()) in (tmp_path / ".lock").read_text()


def test_a_waiter_gets_the_lock_when_the_holder_ends(start_python, tmp_path):
    with start_python(HOLD_LOCK, tmp_path / ".lock") as holder:
        assert holder.stdout.readline() == "held\n"
        with lock(tmp_path / ".lock", wait_seconds=30, on_wait=lambda _: holder.kill()):
            holder.communicate()
            assert holder.returncode == -signal.SIGKILL


def test_stale_files_and_folders_go_and_nothing_else(tmp_path):
    (tmp_path / ".staging-7" / "deep").mkdir(parents=True)
    (tmp_path / ".staging-7" / "deep" / "model.plan").touch()
    (tmp_path / ".config.pbtxt.7.part").touch()
    (tmp_path / "1").mkdir()
    (tmp_path / "config.pbtxt").touch()
    remove_stale(tmp_path, [".staging-*", ".*.part"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "config.pbtxt"]


def test_syncing_a_tree_reads_every_kind_of_entry_in_it(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "read_only").touch(mode=0o400)
    sync_tree(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync_tree(tmp_path / "absent")


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, found in ((tmp_path, "a folder"), (tmp_path / "pipe", "a named pipe"), (Path("/dev/zero"), "a device")):
        with pytest.raises(OSError, match=f"is {found} and no regular file"):
            open_regular(path)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "missing")


def test_no_more_is_read_than_a_file_says_it_holds(tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    assert [read_regular(tmp_path / "file", most) for most in (3, 4, 5, 100)] == [b"1234", b"12345", b"12345", b"12345"]
    assert read_regular(Path("/proc/self/pagemap"), 100) == b""
    assert sha256_of(Path("/proc/self/pagemap")) == EMPTY
