"""From pictures to printed answers, with a server that knows one answer."""

import io
import json
import logging
import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image

from services.client import progress
from services.client.classify import classify
from services.client.protocol import Answer
from services.client.served import ServedModel
from services.core.errors import ImageError
from services.core.settings import ClientSettings


class Knowing:
    """A transport that has the same answer to every question."""

    where = "http://here"

    def infer(self, question):
        return Answer(3, np.array([[b"0.9:1:cat"]] * len(question.batch), np.object_))


class Screen(io.StringIO):
    def isatty(self):
        return True


def served(card) -> ServedModel:
    transport: Any = Knowing()
    return ServedModel(transport, "tiny", card, batch=2, patience=1)


@pytest.fixture
def model(card):
    return served(card)


@pytest.fixture
def photos(tmp_path):
    for index in range(5):
        Image.new("RGB", (10, 12), (index, 0, 0)).save(tmp_path / f"{index}.png")
    return tmp_path


def files(out):
    return [json.loads(line)["file"].rpartition("/")[2] for line in out.splitlines()]


def test_answers_in_order_and_the_unreadable_at_the_end(model, photos, capsys, caplog):
    (photos / "1.png").write_text("hello")
    with pytest.raises(ImageError, match="2 of 6 could not be read"):
        classify(model, ClientSettings(), ["", str(photos)], as_json=True)
    assert files(capsys.readouterr().out) == ["0.png", "2.png", "3.png", "4.png"]
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 2


def test_progress_is_on_the_terminal_and_not_in_the_data(model, photos, capsys, monkeypatch):
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0)
    monkeypatch.setattr(sys, "stderr", screen := Screen())
    classify(model, ClientSettings(), [str(photos)], as_json=True)
    assert "\r2 of 5 pictures" in screen.getvalue()
    assert files(capsys.readouterr().out) == ["0.png", "1.png", "2.png", "3.png", "4.png"]


@pytest.mark.parametrize(("log_format", "screen"), [("json", Screen()), ("text", io.StringIO())])
def test_progress_is_a_log_line_elsewhere(model, photos, caplog, monkeypatch, log_format, screen):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(progress, "LOG_SECONDS", 0)
    monkeypatch.setattr(sys, "stderr", screen)
    classify(model, ClientSettings(log_format=log_format), [str(photos)], as_json=False)
    assert [message for message in caplog.messages if message.startswith("2 of 5 pictures")]
    assert screen.getvalue() == ""


@pytest.mark.parametrize(("weights", "warned"), [("random", True), ("default", False)])
def test_random_weights_are_told(card, photos, caplog, weights, warned):
    random = card.model_copy(update={"source": card.source.model_copy(update={"weights": weights})})
    classify(served(random), ClientSettings(), [str(photos)], as_json=True)
    assert ["the weights of tiny are random: its answers mean nothing"] * warned == [
        record.getMessage() for record in caplog.records if record.levelno == logging.WARNING
    ]
