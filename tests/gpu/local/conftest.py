"""The stack without Docker on an NVIDIA GPU; skipped where there is none, or where its packages are missing."""

import pytest

from services.local import gpu
from tests.local.conftest import lite0, tiny, tiny_export  # noqa: F401 - fixtures of this tier, too


@pytest.fixture(scope="session")
def settings() -> dict[str, str]:
    return {"ACCELERATOR": "onnxruntime-gpu", "PRECISION": "fp16"}


@pytest.fixture(scope="session", autouse=True)
def graphics_processor() -> None:
    if not gpu.visible():
        pytest.skip("no NVIDIA GPU (nvidia-smi does not answer)")
    if not gpu.installed():
        pytest.skip("no onnxruntime-gpu: scripts/up --local and scripts/test install it where there is a GPU")
