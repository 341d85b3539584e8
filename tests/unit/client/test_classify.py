"""From pictures to printed answers, with a server that knows one answer."""

import io
import json
import logging
import sys

import pytest
from PIL import Image

from services.client import progress
from services.client.asking import Asking
from services.client.classify import classify
from services.client.protocol import UnreachableError
from services.client.served import ServedModel
from services.core.errors import ContractError, ImageError
from services.core.settings import ClientSettings
from tests.unit.client.fakes import Knowing


class Screen(io.StringIO):
    def isatty(self):
        return True


def asking_of(card, transport=None) -> Asking:
    transport = transport or Knowing()
    model = ServedModel(transport, "tiny", card, batch=2, patience=1)
    return Asking(model, ClientSettings(client_in_flight=2), lambda: transport)


@pytest.fixture
def asking(card):
    with asking_of(card) as made:
        yield made


@pytest.fixture
def photos(tmp_path):
    for index in range(5):
        Image.new("RGB", (10, 12), (index, 0, 0)).save(tmp_path / f"{index}.png")
    return tmp_path


def files(out):
    return [json.loads(line)["file"].rpartition("/")[2] for line in out.splitlines()]


def test_answers_in_order_and_the_unreadable_at_the_end(asking, photos, capsys, caplog):
    (photos / "1.png").write_text("hello")
    with pytest.raises(ImageError, match="2 of 6 could not be read"):
        classify(asking, ClientSettings(), ["", str(photos)], as_json=True)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["file"].rpartition("/")[2] for line in lines] == ["", "0.png", "1.png", "2.png", "3.png", "4.png"]
    assert ["top" in line for line in lines] == [False, True, False, True, True, True]
    assert lines[2].keys() == {"file", "error"}
    assert lines[2]["error"].startswith("found a text file")
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 2


def test_progress_is_on_the_terminal_and_not_in_the_data(asking, photos, capsys, monkeypatch):
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0)
    monkeypatch.setattr(sys, "stderr", screen := Screen())
    classify(asking, ClientSettings(), [str(photos)], as_json=True)
    assert "\r2 of 5 pictures" in screen.getvalue()
    assert files(capsys.readouterr().out) == ["0.png", "1.png", "2.png", "3.png", "4.png"]


@pytest.mark.parametrize(("log_format", "screen"), [("json", Screen()), ("text", io.StringIO())])
def test_progress_is_a_log_line_elsewhere(asking, photos, caplog, monkeypatch, log_format, screen):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(progress, "LOG_SECONDS", 0)
    monkeypatch.setattr(sys, "stderr", screen)
    classify(asking, ClientSettings(log_format=log_format), [str(photos)], as_json=False)
    assert [message for message in caplog.messages if message.startswith("2 of 5 pictures")]
    assert screen.getvalue() == ""


@pytest.mark.parametrize(("weights", "warned"), [("random", True), ("default", False)])
def test_random_weights_are_told(card, photos, caplog, weights, warned):
    random = card.model_copy(update={"source": card.source.model_copy(update={"weights": weights})})
    with asking_of(random) as asking:
        classify(asking, ClientSettings(), [str(photos)], as_json=True)
    assert ["the weights of tiny are random: its answers mean nothing"] * warned == [
        record.getMessage() for record in caplog.records if record.levelno == logging.WARNING
    ]


def test_a_table_for_people_has_no_line_for_what_could_not_be_read(asking, photos, capsys, caplog):
    (photos / "1.png").write_text("hello")
    with pytest.raises(ImageError, match="1 of 5 could not be read"):
        classify(asking, ClientSettings(), [str(photos)], as_json=False)
    assert "1.png" not in capsys.readouterr().out
    assert f"{photos}/1.png: found a text file" in caplog.text


def test_standard_input_is_called_so(asking, monkeypatch, caplog, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    with pytest.raises(ImageError):
        classify(asking, ClientSettings(), ["-"], as_json=True)
    assert caplog.messages[0].startswith("standard input: found an empty file")
    assert json.loads(capsys.readouterr().out)["file"] == "-"


def test_what_an_earlier_run_has_an_answer_for_is_left_out(asking, photos, capsys, caplog):
    caplog.set_level(logging.INFO)
    (photos / "1.png").write_text("hello")
    with pytest.raises(ImageError):
        classify(asking, ClientSettings(), [f"{photos}/[0-2].png"], as_json=True)
    earlier = photos / "answers.jsonl"
    earlier.write_text(capsys.readouterr().out)
    Image.new("RGB", (10, 12)).save(photos / "1.png")
    classify(asking, ClientSettings(), [str(photos)], as_json=True, skip_done=earlier)
    assert files(capsys.readouterr().out) == ["1.png", "3.png", "4.png"]
    assert f"2 of 5 left out: {earlier} has answers for them" in caplog.messages


def test_what_is_no_earlier_run_is_refused_before_anything_is_asked(card, photos):
    transport = Knowing()
    with asking_of(card, transport) as asking, pytest.raises(ContractError):
        classify(asking, ClientSettings(), [str(photos)], as_json=True, skip_done=photos / "0.png")
    assert transport.questions == []


def test_a_server_that_goes_away_ends_the_run_after_the_answers_before(card, photos, capsys):
    def lose(question):
        if int(question.batch.flat[0]) >= 2:
            raise UnreachableError("gone")

    with asking_of(card, Knowing(lose)) as asking, pytest.raises(UnreachableError, match="gone"):
        classify(asking, ClientSettings(), [str(photos)], as_json=True)
    assert files(capsys.readouterr().out) == ["0.png", "1.png"]
