"""An ONNX file on disk, and settings that export it."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from services.core.settings import ExporterSettings


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., ExporterSettings]:
    """Settings for an ONNX file of the temporary folder, with two photographs of noise, and the environment given."""
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for index in range(2):
        pixels = np.random.default_rng(index).integers(0, 256, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photographs / f"{index}.png")

    def make(model: onnx.ModelProto | None = None, **environment: object) -> ExporterSettings:
        if model is not None:
            onnx.save(model, tmp_path / "tiny.onnx")
        fixed = {
            "MODEL": f"onnx:{tmp_path / 'tiny.onnx'}",
            "ARTIFACTS_DIR": str(tmp_path / "artifacts"),
            "GOLDEN_DIR": str(photographs),
            "GOLDEN_COUNT": "4",
        }
        return ExporterSettings.from_env(fixed | {key: str(value) for key, value in environment.items()})

    return make


@pytest.fixture(scope="session")
def run_graph() -> Callable[..., np.ndarray]:
    """Run a graph of one input and one output with ONNX Runtime, after ONNX's own checker."""

    def run(model: onnx.ModelProto, inputs: np.ndarray) -> np.ndarray:
        onnx.checker.check_model(model, full_check=True)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return session.run(None, {session.get_inputs()[0].name: inputs})[0]

    return run


@pytest.fixture
def as_nobody(tmp_path: Path) -> Callable[[], contextlib.AbstractContextManager[None]]:
    """A while as a user whom permissions bind, also where the tests run as root."""
    for folder in [tmp_path, *tmp_path.parents][:-2]:
        folder.chmod(folder.stat().st_mode | 0o055)

    @contextlib.contextmanager
    def nobody() -> Iterator[None]:
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(user)

    return nobody
