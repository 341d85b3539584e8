"""What people and programs get to read."""

import json

import pytest

from services.client.report import Result, json_line, table, verify_text
from services.client.served import Class
from services.numerics.agreement import Agreement

RESULT = Result("coffee.jpg", "tiny", 3, [Class(967, "espresso", 0.951), Class(968, "cup", 0.015), Class(7, "", 0.0)])


def test_table_for_people():
    assert table(RESULT, "probabilities", 80, unicode=True).splitlines() == [
        "coffee.jpg",
        "  ███████████████████    95.1%    967  espresso",
        "                          1.5%    968  cup",
        "                          0.0%      7",
    ]


def test_logits_stay_numbers():
    result = Result("a.jpg", "tiny", 1, [Class(1, "b", 12.34567), Class(0, "a", -3.0)])
    assert table(result, "logits", 80, unicode=True).splitlines()[1:] == ["     12.3457      1  b", "     -3.0000      0  a"]


@pytest.mark.parametrize("width", [20, 30, 49, 50, 60])
def test_no_line_is_wider_than_the_terminal(width):
    result = Result("a.jpg", "tiny", 1, [Class(1, "a label that goes on and on and on and on and on", 1.0)])
    line = table(result, "probabilities", width, unicode=True).splitlines()[1]
    assert len(line) <= width
    assert "100.0%" in line
    assert line.endswith("~")
    assert ("█" in line) == (width >= 50)


def test_a_terminal_without_block_characters():
    assert table(RESULT, "probabilities", 80, unicode=False).isascii()


def test_escape_sequences_do_not_reach_the_terminal():
    result = Result("a\x1b[31m.jpg", "tiny", 1, [Class(1, "b\x1b]0;x\x07\n", 0.5)])
    assert table(result, "logits", 80, unicode=True).split("\n") == [r"a\x1b[31m.jpg", r"      0.5000      1  b\x1b]0;x\x07\n"]


def test_json_line_for_programs():
    line = json_line(Result("a\nb\udc80.jpg", "tiny", 3, [Class(1, "blüe", 0.5)]))
    assert "\n" not in line
    assert line.isascii()
    assert json.loads(line) == {
        "file": "a\nb\udc80.jpg",
        "model": "tiny",
        "version": 3,
        "top": [{"index": 1, "label": "blüe", "score": 0.5}],
    }


def agreement(error: float) -> Agreement:
    return Agreement(
        samples=5,
        top1_agreement=0.8,
        max_error=error,
        mean_error=error,
        min_top1_agreement=1,
        max_error_tolerance=1e-3,
        mean_error_tolerance=1e-4,
    )


def test_agreement_for_people_and_for_programs():
    text = verify_text("tiny", 3, agreement(0.01), as_json=False)
    assert "DISAGREES" in text
    assert "80.0%   at least 100.0%" in text
    assert "0.01   at most 0.001" in text
    document = json.loads(verify_text("tiny", 3, agreement(float("inf")), as_json=True))
    assert (document["passed"], document["samples"], document["max_error"]) == (False, 5, None)
