"""Whether a live server agrees with the golden set of its version."""

import json
from typing import Any

import numpy as np
import pytest

from services.client.protocol import Answer
from services.client.served import ServedModel
from services.client.verify import verify
from services.core.errors import AccuracyError, ContractError, ServerError
from services.core.record import Accuracy, BuildRecord, Compiler, Hardware
from services.core.settings import ClientSettings

SCORES = np.array([[0.5, 0.495, 0.005, 0], [0.1, 0.6, 0.3, 0], [0.2, 0.1, 0.7, 0]], np.float32)


def golden(**arrays):
    return {"inputs": np.arange(3 * 8 * 8 * 3, dtype=np.uint8).reshape(3, 8, 8, 3), "scores": SCORES} | arrays


class Answering:
    """A transport that answers the golden inputs with the scores given, in their order."""

    where = "http://here"

    def __init__(self, scores, versions=(3,)):
        self.scores, self.versions, self.asked, self.sizes = scores, list(versions), 0, []

    def infer(self, question):
        version = self.versions.pop(0) if len(self.versions) > 1 else self.versions[0]
        if question.classes:
            return Answer(version, np.array([[b"1:1"]], np.object_))
        begin = self.asked
        self.asked += len(question.batch)
        self.sizes.append(len(question.batch))
        return Answer(version, self.scores[begin : self.asked])


@pytest.fixture
def published(tmp_path, card):
    folder = tmp_path / "tiny" / "3"
    folder.mkdir(parents=True)
    np.savez(folder / "golden.npz", **golden())
    BuildRecord(
        model="tiny",
        engine_fingerprint="a",
        publication_fingerprint="b",
        card_sha256="c",
        source=card.source,
        precision="fp16",
        compiler=Compiler(name="test", version="1"),
        hardware=Hardware(device="CPU"),
        max_batch=8,
        engine_file="model.onnx",
        engine_sha256="d",
        engine_bytes=1,
        accuracy=Accuracy(
            samples=3,
            top1_agreement=1,
            max_error=0,
            mean_error=0,
            min_top1_agreement=1,
            max_error_tolerance=0.01,
            mean_error_tolerance=0.005,
        ),
        created="2026-11-24T00:00:00Z",
    ).dump(folder / "build.json")
    return ClientSettings(model_repository_dir=tmp_path)


def check(transport: Any, card, settings):
    verify(ServedModel(transport, "tiny", card, batch=2, patience=1), settings, None, as_json=True)


def test_the_whole_golden_set_is_sent_in_batches(published, card, capsys):
    transport = Answering(SCORES)
    check(transport, card, published)
    found = json.loads(capsys.readouterr().out)
    assert (found["passed"], found["samples"], found["version"]) == (True, 3, 3)
    assert transport.sizes == [2, 1]


def test_between_two_near_classes_rounding_decides_as_it_did_for_the_builder(published, card, capsys):
    swapped = SCORES.copy()
    swapped[0, :2] = [0.495, 0.5]
    check(Answering(swapped), card, published)
    assert json.loads(capsys.readouterr().out)["passed"] is True


@pytest.mark.parametrize(("place", "value", "found"), [((1, 1), 0.5, "largest error"), ((1, 2), np.nan, "top-1 agreement is 66.7%")])
def test_other_answers_are_refused(published, card, place, value, found):
    wrong = SCORES.copy()
    wrong[place] = value
    with pytest.raises(AccuracyError, match=found) as caught:
        check(Answering(wrong), card, published)
    assert "rollback" in caught.value.hint


def test_a_swap_in_between_is_told(published, card):
    with pytest.raises(ServerError, match="version 4 went live while version 3 was being verified"):
        check(Answering(SCORES, [3, 3, 4]), card, published)


def test_a_missing_golden_set_names_the_option(published, card):
    (published.model_repository_dir / "tiny" / "3" / "golden.npz").unlink()
    with pytest.raises(ContractError, match="No such file") as caught:
        check(Answering(SCORES), card, published)
    assert "--golden" in caught.value.hint
