"""Triton's classification strings, and the card in a model's configuration."""

import json

import numpy as np
import pytest

from services.client.served import Class, card_of, classes_of
from services.core.errors import ContractError, ServerError


def row(*items):
    return np.array(items, dtype=np.object_)


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (b"0.951:967:espresso", Class(967, "espresso", 0.951)),
        (b"3.000000:3", Class(3, "", 3.0)),
        (b"-1.5e-05:0:", Class(0, "", -1.5e-05)),
        (b"0.5:1:Star Trek: The Next: Generation", Class(1, "Star Trek: The Next: Generation", 0.5)),
        ("0.5:2:na\u00efve café".encode(), Class(2, "na\u00efve café", 0.5)),
        (b"0.5:2:\xff", Class(2, "\ufffd", 0.5)),
        ("0.5:2:text", Class(2, "text", 0.5)),
    ],
)
def test_one_class(item, expected):
    assert classes_of(row(item)) == [expected]


def test_order_is_the_server_s():
    assert [best.index for best in classes_of(row(b"0.7:4:d", b"0.2:1:a", b"0.1:9:i"))] == [4, 1, 9]


@pytest.mark.parametrize("item", [b"", b"espresso", b"0.5", b"x:1:label", b"0.5:x:label"])
def test_something_else_is_refused(item):
    with pytest.raises(ServerError, match="expected score:index:label"):
        classes_of(row(item))


@pytest.mark.parametrize("score", [b"nan", b"inf", b"-nan"])
def test_a_score_that_is_no_number_is_a_broken_model(score):
    with pytest.raises(ServerError, match="broken"):
        classes_of(row(score + b":1:label"))


def test_card_comes_from_the_configuration(card):
    config = {"max_batch_size": 8, "parameters": {"card": {"string_value": card.model_dump_json()}}}
    assert card_of(config, "tiny") == card


@pytest.mark.parametrize("config", [{}, {"parameters": {}}, {"parameters": {"other": {"string_value": "x"}}}])
def test_a_model_without_card_is_named(config):
    with pytest.raises(ContractError, match="configuration of other has no model card"):
        card_of(config, "other")


def test_a_card_of_a_newer_format_is_refused(card):
    newer = json.dumps(card.model_dump(mode="json") | {"format_version": "2.0"})
    with pytest.raises(ContractError, match=r"the card of tiny has format_version '2\.0', expected 1\.0"):
        card_of({"parameters": {"card": {"string_value": newer}}}, "tiny")
