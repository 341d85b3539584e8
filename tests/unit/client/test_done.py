"""Which pictures need not be asked about again."""

import os
import sys

import pytest

from services.client.done import Done
from services.client.report import Result, json_line
from services.client.served import Class
from services.core.errors import ContractError

NAMES = ("a.jpg", "b\n.jpg", "ünï\udc80.jpg")


def line(name: str, model: str = "tiny") -> str:
    return json_line(Result(name, model, 3, [Class(1, "cat", 0.5)])) + "\n"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(map(line, NAMES)))
    return path


def append(path, text):
    with path.open("a") as lines:
        lines.write(text)


def test_exact_names_are_done(file):
    assert Done.read(file, "tiny") == Done(frozenset(NAMES), torn=False)


def test_failures_and_answers_of_another_model_are_asked_again(file):
    append(file, json_line(Result("bad.jpg", "tiny", error="no picture")) + "\n" + line("c.jpg", "other") + "\n")
    assert Done.read(file, "tiny").files == set(NAMES)


@pytest.mark.parametrize("damage", ['{"file": "c.jpg", "mod', '{"file": "c.jpg", "top": []}', "5", "\x00\x00"])
def test_a_last_line_that_was_cut_off_is_told(file, damage, caplog):
    append(file, damage)
    assert Done.read(file, "tiny").files == set(NAMES)
    assert caplog.messages == [f"{file}: line 4 cut off or damaged; asking again"]


def test_a_run_that_went_on_behind_a_cut_off_line(file, caplog):
    append(file, '{"file": "c.jpg", "mod\n' + line("d.jpg"))
    assert Done.read(file, "tiny").files == {*NAMES, "d.jpg"}
    assert "line 4" in caplog.text


def test_the_output_goes_on_in_a_line_of_its_own(file, monkeypatch):
    with file.open("a") as out:
        monkeypatch.setattr(sys, "stdout", out)
        assert not Done.read(file, "tiny").torn
        os.write(out.fileno(), b'{"file"')
        assert Done.read(file, "tiny").torn


def test_an_empty_file_is_that_of_a_first_run(tmp_path):
    (tmp_path / "answers.jsonl").touch()
    assert Done.read(tmp_path / "answers.jsonl", "tiny") == Done()


@pytest.mark.parametrize("content", [b"\xff\xd8\xff\xe0", b"a.jpg\nb.jpg\n"])
def test_something_else_is_refused(file, content):
    file.write_bytes(content)
    with pytest.raises(ContractError, match="expected answers that --json wrote"):
        Done.read(file, "tiny")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ContractError, match="No such file"):
        Done.read(tmp_path / "answers.jsonl", "tiny")
