"""A GPU is used where both the driver and the packages are there. nvidia-smi is a stand-in, the packages' metadata a folder."""

import pytest

from services.local.gpu import accelerator


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Give it a GPU (nvidia-smi ends with 0) and the packages, or not."""

    def machine(*, gpu: bool, packages: bool) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text("#!/bin/sh\n" + ("echo 'GPU 0: a GPU'\n" if gpu else "echo no devices >&2; exit 9\n"))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        if packages:
            metadata = tmp_path / "onnxruntime_gpu-1.0.dist-info" / "METADATA"
            metadata.parent.mkdir()
            metadata.write_text("Metadata-Version: 2.1\nName: onnxruntime-gpu\nVersion: 1.0\n")
            monkeypatch.syspath_prepend(tmp_path)

    return machine


@pytest.mark.parametrize(
    ("gpu", "packages", "kind", "expected"),
    [
        (True, True, "", "onnxruntime-gpu"),
        (True, True, "KIND_GPU", "onnxruntime-gpu"),
        (True, True, "KIND_CPU", "onnxruntime"),
        (True, False, "", "onnxruntime"),
        (False, True, "", "onnxruntime"),
    ],
)
def test_what_computes(machine, gpu, packages, kind, expected):
    machine(gpu=gpu, packages=packages)
    assert accelerator({"INSTANCE_KIND": kind}) == expected


def test_without_a_driver_there_is_no_gpu(machine, tmp_path):
    machine(gpu=True, packages=True)
    (tmp_path / "nvidia-smi").unlink()
    assert accelerator({}) == "onnxruntime"
