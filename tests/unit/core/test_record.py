"""A build record comes back as it was written, and a damaged one says how to mend it."""

import pytest

from services.core.card import Source
from services.core.errors import ContractError
from services.core.record import Accuracy, BuildRecord, Compiler, Evaluation, Hardware, Speed

RECORD = BuildRecord(
    model="tiny",
    engine_fingerprint="f" * 64,
    publication_fingerprint="0" * 64,
    card_sha256="c" * 64,
    source=Source(model="resnet50", weights="default", weights_sha256="w" * 64),
    precision="fp16",
    compiler=Compiler(name="tensorrt", version="11.1.0.106", argv=("trtexec", "--onnx=a b.onnx")),
    hardware=Hardware(device="NVIDIA L4", compute_capability="8.9", driver="580.82"),
    max_batch=32,
    engine_file="model.plan",
    engine_sha256="e" * 64,
    engine_bytes=12345,
    accuracy=Accuracy(
        samples=8,
        top1_agreement=1.0,
        max_error=0.001,
        mean_error=0.0001,
        min_top1_agreement=1.0,
        max_error_tolerance=0.03,
        mean_error_tolerance=0.003,
    ),
    evaluation=Evaluation(images=100, top1_before=0.75, top5_before=0.9, top1=0.74, top5=0.9),
    speed=Speed(batch=8, images_per_second=1000.5, median_ms=8.0, p99_ms=9.5, spread=0.02),
    notes=("first and last layers stay FP32",),
    created="2026-11-22T17:00:00+00:00",
)


def test_round_trip(tmp_path):
    path = tmp_path / "build.json"
    path.write_text(RECORD.dumps())
    assert BuildRecord.load(path) == RECORD


def test_what_was_not_measured_may_be_left_out(tmp_path):
    record = RECORD.model_copy(update={"evaluation": None, "speed": None, "notes": ()})
    (tmp_path / "build.json").write_text(record.dumps())
    assert BuildRecord.load(tmp_path / "build.json") == record


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (RECORD.dumps()[:-40], "is not JSON"),
        (RECORD.dumps().replace('"2.0"', '"1.0"', 1), "format_version '1.0', expected 2.0"),
        (RECORD.dumps().replace('"top1_agreement":', '"top1":', 1), r"accuracy\.top1_agreement: Field required"),
        (RECORD.dumps().replace('"top1_agreement": 1.0', '"top1_agreement": 1.5'), r"accuracy\.top1_agreement: .*less than or equal to 1"),
    ],
)
def test_damage_is_named_and_the_fix_builds_anew(tmp_path, text, message):
    path = tmp_path / "3" / "build.json"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(ContractError, match=message) as caught:
        BuildRecord.load(path)
    assert "builder build --force" in caught.value.hint
