"""A model card for the client's tests."""

import pytest

from services.core.card import Golden, ModelCard, Onnx, Preprocessing, Source, Tensor


@pytest.fixture
def card() -> ModelCard:
    return ModelCard(
        name="tiny",
        source=Source(model="tiny", weights="random", weights_sha256="0"),
        onnx=Onnx(sha256="0", opset=17, producer="test"),
        inputs=(Tensor(name="images", dtype="UINT8", shape=(-1, 8, 8, 3)),),
        outputs=(Tensor(name="scores", dtype="FP32", shape=(-1, 4)),),
        preprocessing=Preprocessing(
            resize=8, crop=8, interpolation="bilinear", layout="NHWC", mean=(0, 0, 0), std=(1, 1, 1), normalised_in_graph=True
        ),
        scores="probabilities",
        labels=4,
        labels_sha256="0" * 64,
        golden=Golden(count=2, sha256="0", made_from="noise"),
        fingerprint="0",
        created_by={},
    )
