"""What a served model says of itself: the card in its configuration, and the largest batch it takes."""

import math
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from services.client.protocol import Answer, Question, Transport
from services.client.wait import patiently
from services.core.card import ModelCard
from services.core.errors import ContractError, ServerError
from services.core.settings import ClientSettings

_HINT = "name a model that this stack's builder published, with --model or MODEL_NAME"


@dataclass(frozen=True)
class ServedModel:
    """A model on a server, ready to be asked."""

    transport: Transport
    name: str
    card: ModelCard
    batch: int
    patience: float

    @classmethod
    def of(cls, transport: Transport, name: str, settings: ClientSettings) -> "ServedModel":
        """Read the model's configuration.

        Raises:
            ContractError: it carries no card, or one of another release.
            ServerError: the server does not give it.
        """
        config = transport.config(name)
        batch = min(settings.client_batch, max(1, int(config.get("max_batch_size", 0))))
        return cls(transport, name, card_of(config, name), batch, settings.request_timeout_seconds)

    def ask(self, batch: npt.NDArray[Any], classes: int = 0) -> Answer:
        """Send a batch; an overloaded server is asked again for a while.

        Args:
            batch: the input tensor, first dimension the batch.
            classes: answer with that many best classes of each; 0 for all scores.

        Raises:
            ServerError: it refuses, or cannot be reached.
        """
        question = Question(self.name, self.card.input.name, self.card.input.dtype, batch, self.card.output.name, classes)
        answer = patiently(lambda: self.transport.infer(question), self.patience)
        if answer.output is None or len(answer.output) != len(batch):
            raise ServerError(f"{self.name} did not answer with one {self.card.output.name} per picture", hint=_HINT)
        return answer


def card_of(config: dict[str, Any], name: str) -> ModelCard:
    """The card that the builder put into the configuration's parameters.

    Raises:
        ContractError: there is none, or it is of another release.
    """
    text = config.get("parameters", {}).get("card", {}).get("string_value", "")
    if not text:
        raise ContractError(f"the configuration of {name} has no model card", hint=_HINT)
    return ModelCard.loads(text, f"the card of {name}")


@dataclass(frozen=True)
class Class:
    """One line of an answer; ``label`` is empty where the model has none."""

    index: int
    label: str
    score: float


def classes_of(row: npt.NDArray[Any]) -> list[Class]:
    """Read one picture's answer of the classification extension, best first.

    Args:
        row: BYTES ``[k]``, each ``score:index`` or ``score:index:label``, where the label may hold colons itself
            (https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_classification.md).

    Raises:
        ServerError: it is something else, or a score is not finite.
    """
    return [_class_of(item) for item in row.reshape(-1)]


def _class_of(item: bytes | str) -> Class:
    text = item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item)
    score, _, rest = text.partition(":")
    index, _, label = rest.partition(":")
    try:
        parsed = Class(int(index), label.strip(), float(score))
    except ValueError:
        raise ServerError(f"the server answers {text!r}, expected score:index:label", hint=_HINT) from None
    if not math.isfinite(parsed.score):
        raise ServerError(f"the model's score is {score} for class {index}: it is broken", hint="build it with PRECISION=fp32")
    return parsed
