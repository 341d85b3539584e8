"""A model that is replaced while it is asked: what is sent was prepared by the card of the version that answers."""

from typing import Any

import numpy as np
import pytest

from services.client.asking import Asking
from services.client.pictures import Named
from services.client.protocol import Answer, Question, RefusedError
from services.client.served import ServedModel, version_of
from services.core.card import ModelCard
from services.core.settings import ClientSettings
from tests.unit.client.fakes import Knowing

SETTINGS = ClientSettings(send="pixels", client_batch=2, client_in_flight=1)


class Republished(Knowing):
    """It serves the last of its cards, whose place is its version; ``replace_after`` questions the next one is published."""

    def __init__(self, *cards: ModelCard, replace_after: int) -> None:
        super().__init__()
        self.cards, self.version, self._replace_after = cards, 1, replace_after
        self.configs = 0

    def config(self, _model: str) -> dict[str, Any]:
        self.configs += 1
        card = self.cards[self.version - 1]
        policy = {"specific": {"versions": [str(self.version)]}}  # as gRPC's JSON has it
        return {"max_batch_size": 8, "version_policy": policy, "parameters": {"card": {"string_value": card.model_dump_json()}}}

    def infer(self, question: Question) -> Answer:
        if len(self.questions) == self._replace_after:
            self.version = min(self.version + 1, len(self.cards))
        answer = super().infer(question)
        expected = self.cards[self.version - 1].input.shape[1:]
        if question.batch.shape[1:] != expected:
            raise RefusedError(f"expected the shape {expected}", "unexpected shape")
        return answer._replace(version=self.version)


def classified(transport: Any, count: int) -> tuple[list[int], list[int]]:
    """Versions and best classes of so many pictures, each of one colour, which is its class."""
    model = ServedModel.of(transport, "tiny", SETTINGS)
    transport.configs = 0
    with Asking(model, SETTINGS, lambda: transport) as asking:
        pictures = [Named(str(number), np.full((40, 40, 3), number, np.uint8)) for number in range(count)]
        results = [result for group in asking.groups(pictures, 1) for result in group]
    return [result.version for result in results], [result.top[0].index for result in results]


def test_other_preprocessing_holds_from_the_version_on_that_has_it(card):
    preprocessing = card.preprocessing.model_copy(update={"resize": card.preprocessing.resize + 5})
    transport = Republished(card, card.model_copy(update={"preprocessing": preprocessing}), replace_after=1)
    assert classified(transport, 6) == ([1, 1, 2, 2, 2, 2], list(range(6)))
    assert (len(transport.questions), transport.configs) == (4, 1)  # one group was asked twice, and the card read once


def test_so_does_another_shape_which_the_server_refuses(card):
    side = card.preprocessing.crop - 2
    smaller = card.model_copy(
        update={
            "preprocessing": card.preprocessing.model_copy(update={"crop": side}),
            "inputs": (card.input.model_copy(update={"shape": (-1, side, side, 3)}),),
        }
    )
    transport = Republished(card, smaller, replace_after=0)
    assert classified(transport, 2) == ([2, 2], [0, 1])


def test_a_refusal_that_has_another_reason_stays_one(card):
    def refuse(_question: Question) -> None:
        raise RefusedError("no", "unexpected shape")

    transport = Republished(card, replace_after=9)
    transport.before = refuse
    with pytest.raises(RefusedError):
        classified(transport, 1)
    assert len(transport.questions) == 1


@pytest.mark.parametrize(
    ("policy", "version"),
    [({"specific": {"versions": [7]}}, 7), ({"specific": {"versions": ["7"]}}, 7), ({"specific": {"versions": [1, 2]}}, 0), ({}, 0)],
)
def test_the_version_of_a_configuration(policy, version):
    assert version_of({"version_policy": policy} if policy else {}) == version
