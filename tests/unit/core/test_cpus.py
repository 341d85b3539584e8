"""Which processors there are is read from files as the kernel writes them; the policy is a table."""

import os
from pathlib import PurePosixPath

import pytest

from services.core import cpus
from services.core.cpus import SPIN_US, Cpus, Threads


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("max 100000\n", None),
        ("150000 100000\n", 1.5),
        ("50000 100000\n", 0.5),
        ("-1\n100000\n", None),
        ("200000\n100000\n", 2),
        ("", None),
        ("100000", None),
        ("0 100000", None),
        ("100000 0", None),
        ("a b", None),
    ],
)
def test_a_quota_is_time_for_time(text, found):
    assert cpus.quota(text) == found


@pytest.mark.parametrize(
    ("affinity", "quotas", "found"),
    [
        (16, [], Cpus(16)),
        (16, [4.0], Cpus(4, limited=True)),
        (16, [8.0, 1.5], Cpus(2, limited=True)),
        (2, [0.25], Cpus(1, limited=True)),
        (2, [2.0], Cpus(2)),
        (2, [16.0], Cpus(2)),
    ],
)
def test_the_tightest_limit_counts(affinity, quotas, found):
    assert cpus.available(affinity, quotas) == found


@pytest.mark.parametrize(
    ("membership", "folders"),
    [
        ("0::/\n", ["."]),
        ("0::/system.slice/docker-1.scope\n", ["system.slice/docker-1.scope", "system.slice", "."]),
        ("4:memory:/a\n3:cpuset:/a\n2:cpu,cpuacct:/docker/1\n", ["cpu,cpuacct/docker/1", "cpu,cpuacct/docker", "cpu,cpuacct"]),
        ("1:cpu:/\n0::/\n", ["cpu", "."]),
        ("", []),
    ],
)
def test_a_limit_is_looked_for_in_the_group_and_above_it(membership, folders):
    assert list(cpus.groups(membership)) == [PurePosixPath(folder) for folder in folders]


@pytest.fixture
def cgroup(tmp_path):
    """What a machine says that has these files below /sys/fs/cgroup, to a process of this membership."""

    def found(membership: str, **files: str) -> Cpus:
        (tmp_path / "membership").write_text(membership)
        for path, text in files.items():
            target = tmp_path / "cgroup" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        return cpus.find(tmp_path / "cgroup", tmp_path / "membership")

    return found


def test_without_a_limit_there_is_the_affinity_mask(cgroup, tmp_path):
    mine = Cpus(len(os.sched_getaffinity(0)))
    assert cpus.find(tmp_path / "none", tmp_path / "none") == mine
    assert cgroup("0::/\n", **{"cpu.max": "max 100000\n"}) == mine


@pytest.mark.parametrize(
    ("membership", "files"),
    [
        ("0::/\n", {"cpu.max": "50000 100000\n"}),
        ("0::/../1\n", {"cpu.max": "50000 100000\n"}),
        ("0::/docker/1\n", {"cpu.max": "50000 100000\n"}),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "50000 100000\n"}),
        ("2:cpu:/docker/1\n0::/\n", {"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}),
        (
            "2:cpu,cpuacct:/a\n",
            {"cpu,cpuacct/a/cpu.cfs_quota_us": "50000\n", "cpu,cpuacct/a/cpu.cfs_period_us": "100000\n", "cpu.max": "max 100000\n"},
        ),
    ],
)
def test_a_quota_of_either_version_is_found(cgroup, membership, files):
    assert cgroup(membership, **files) == Cpus(1, limited=True)


@pytest.mark.parametrize(("number", "instances"), [(1, 1), (2, 1), (4, 1), (15, 1), (16, 2), (64, 2)])
def test_instances_by_processors(number, instances):
    assert cpus.instances(Cpus(number)) == instances


def test_processes_that_decode():
    assert [cpus.image_instances(Cpus(number), on_gpu=False) for number in (1, 15, 16, 64)] == [2, 2, 4, 4]
    assert [cpus.image_instances(Cpus(number), on_gpu=True) for number in (1, 7, 8, 16, 64)] == [2, 3, 4, 8, 8]


@pytest.mark.parametrize(
    ("found", "instances", "asked", "threads"),
    [
        (Cpus(1), 1, 0, Threads(1, 0)),
        (Cpus(2), 1, 0, Threads(2, 0)),
        (Cpus(4), 1, 0, Threads(4, SPIN_US)),
        (Cpus(16), 2, 0, Threads(8, SPIN_US)),
        (Cpus(16), 1, 0, Threads(16, SPIN_US)),
        (Cpus(16), 3, 0, Threads(5, SPIN_US)),
        (Cpus(4, limited=True), 1, 0, Threads(4, 0)),
        (Cpus(4), 8, 0, Threads(1, 0)),
        (Cpus(16), 1, 4, Threads(4, SPIN_US)),
        (Cpus(16), 2, 12, Threads(12, 0)),
    ],
)
def test_threads_are_a_share_and_spin_where_there_are_processors_to_spare(found, instances, asked, threads):
    assert cpus.threads(found, instances, asked) == threads


def test_the_log_can_tell_it():
    assert f"{Cpus(1)}; {Cpus(4, limited=True)}" == "1 processor; 4 processors (a quota of their time is set)"
    assert str(Threads(1, 0)) == "1 ONNX Runtime thread, which sleeps when idle"
    assert str(Threads(8, 200)) == "8 ONNX Runtime threads, which spin for 200 microseconds when idle"
