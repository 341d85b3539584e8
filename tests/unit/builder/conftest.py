"""A published version's parts, made small."""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.builder.compilers.base import Serving
from services.builder.model_config import ModelConfig, image_config
from services.core.card import ModelCard, Tensor
from services.core.record import Accuracy, BuildRecord, Compiler, Hardware
from services.core.settings import BuilderSettings
from tests.unit.builder.told import SCORES


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="session")
def make_config(make_card: Callable[..., ModelCard]) -> Callable[..., ModelConfig]:
    """A config of the small classifier, with the fields given changed."""

    def make(**changes: object) -> ModelConfig:
        card = make_card()
        fields: dict[str, Any] = {
            "name": card.name,
            "version": 0,
            "serving": Serving(backend="python", default_model_filename="model.py"),
            "max_batch_size": 32,
            "input": card.input,
            "output": Tensor(name="scores", dtype="FP32", shape=(-1, 4)),
            "instance_kind": "KIND_CPU",
            "instance_count": 1,
            "preferred_batch": (),
            "max_queue_delay_us": 500,
            "max_queue_size": 0,
            "queue_timeout_us": 0,
            "gpus": (),
            "opt_batch": 8,
            "cpu_threads": 0,
            "card": card.model_dump_json(),
        }
        return ModelConfig(**(fields | changes))

    return make


@pytest.fixture
def stage_version(make_card: Callable[..., ModelCard]) -> Callable[..., Path]:
    """Fill a folder with what a proven candidate has, its content telling ``mark``."""

    golden, labels = io.BytesIO(), "a\nb\nc\nd\n"
    np.savez(golden, inputs=np.zeros((8, 8, 8, 3), np.uint8), scores=SCORES)

    def stage(folder: Path, mark: str = "x") -> Path:
        accuracy = Accuracy(
            samples=8,
            top1_agreement=1,
            max_error=0,
            mean_error=0,
            min_top1_agreement=1,
            max_error_tolerance=0.01,
            mean_error_tolerance=0.001,
        )
        made = make_card()
        hashed = made.golden.model_copy(update={"sha256": sha256(golden.getvalue())})
        card = made.model_copy(update={"golden": hashed, "labels_sha256": sha256(labels.encode())})
        record = BuildRecord(
            model=card.name,
            engine_fingerprint=mark,
            publication_fingerprint="0" * 64,
            card_sha256=sha256(card.dumps().encode()),
            source=card.source,
            precision="fp32",
            compiler=Compiler(name="onnxruntime", version="1.32.0"),
            hardware=Hardware(device="a processor"),
            max_batch=32,
            engine_file="model.onnx",
            engine_sha256=sha256(mark.encode()),
            engine_bytes=len(mark),
            accuracy=accuracy,
            created="2026-11-22T17:00:00+00:00",
        )
        folder.mkdir()
        (folder / "model.onnx").write_text(mark)
        (folder / "build.json").write_text(record.dumps())
        (folder / "card.json").write_text(card.dumps())
        (folder / "labels.txt").write_text(labels)
        (folder / "golden.npz").write_bytes(golden.getvalue())
        (folder / "image.pbtxt").write_text(image_config(card, 32, (), BuilderSettings()))
        return folder

    return stage
