"""What a served model says of itself: the card in its configuration, the largest batch, and whether it takes files."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from services.client.protocol import MALFORMED, Answer, Question, RefusedError, Transport
from services.client.wait import patiently
from services.core.card import ModelCard
from services.core.errors import ContractError, ServerError
from services.core.names import image_name
from services.core.published import ENCODED, VERSION
from services.core.settings import ClientSettings

_HINT = "name a model that this stack's builder published, with --model or MODEL_NAME"
# services/triton/image_model.py says which picture of a request it cannot read; without a name, it calls it a picture.
_BAD_PICTURE = re.compile(r"picture (\d+) of \d+: (?:picture: )?(.+)", re.DOTALL)


class BadPictureError(Exception):
    """The server cannot read one of the files of a request; ``index`` counts from 0."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(reason)
        self.index = index


class ReplacedError(ServerError):
    """Another version has answered than the one whose card was read; pixels that were prepared by that card may be wrong for it."""


@dataclass(frozen=True)
class ServedModel:
    """A model on a server, ready to be asked.

    ``takes_files`` where its ``<name>_image`` is served beside it, too; ``version`` is that of the card, 0 where it is not known.
    """

    transport: Transport
    name: str
    card: ModelCard
    batch: int
    patience: float
    takes_files: bool = False
    version: int = 0

    @classmethod
    def of(cls, transport: Transport, name: str, settings: ClientSettings) -> Self:
        """Read the model's configuration, and see how pictures may be sent.

        Raises:
            ContractError: it carries no card, or one of another release.
            ServerError: the server does not give it, or does not take files where the settings demand that they are sent.
        """
        config = transport.config(name)
        takes_files = settings.send != "pixels" and transport.is_ready(image_name(name))
        if settings.send == "file" and not takes_files:
            raise ServerError(
                f"{transport.where} does not serve {image_name(name)}, which takes files (SEND=file)",
                hint="run the builder again, which publishes it beside the model; or let the client decode, with SEND=auto",
            )
        try:
            batch = min(settings.client_batch, max(1, int(config.get("max_batch_size", 0))))
            card, version = card_of(config, name), version_of(config)
        except MALFORMED as error:
            raise ContractError(f"the configuration of {name} is not one of Triton's: {error}", hint=_HINT) from None
        return cls(transport, name, card, batch, settings.request_timeout_seconds, takes_files, version)

    def over(self, transport: Transport) -> Self:
        """The same model by another connection."""
        return replace(self, transport=transport)

    def ask(self, batch: npt.NDArray[Any], classes: int = 0) -> Answer:
        """Send pixels; an overloaded or lost server is asked again for a while.

        Args:
            batch: the input tensor, first dimension the batch.
            classes: answer with that many best classes of each; 0 for all scores.

        Raises:
            ReplacedError: another version answers by now.
            ServerError: it refuses, or cannot be reached.
        """
        question = Question(self.name, self.card.input.name, self.card.input.dtype, batch, self.card.output.name, classes)
        answer = self._ask(question)
        if self.version and answer.version != self.version:
            raise ReplacedError(f"version {self.version} of {self.name} was replaced by {answer.version} meanwhile", hint="ask again")
        return answer

    def ask_files(self, files: Sequence[bytes], classes: int = 0) -> Answer:
        """Send picture files as they are; the server decodes them.

        Args:
            files: what the files hold, each a picture.
            classes: as above.

        Raises:
            BadPictureError: one of them, the first, is no picture that the server can read.
            ServerError: it refuses, or cannot be reached.
        """
        batch = np.empty((len(files), 1), np.object_)
        batch[:, 0] = files
        try:
            return self._ask(Question(image_name(self.name), ENCODED, "BYTES", batch, self.card.output.name, classes, VERSION))
        except RefusedError as error:
            bad = _BAD_PICTURE.match(error.said)
            if bad and 1 <= int(bad[1]) <= len(files):
                raise BadPictureError(int(bad[1]) - 1, bad[2]) from None
            raise

    def _ask(self, question: Question) -> Answer:
        answer = patiently(lambda: self.transport.infer(question), self.patience)
        if np.shape(answer.output)[:1] != (len(question.batch),):
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


def version_of(config: dict[str, Any]) -> int:
    """The one version that a configuration of the builder's serves; 0 where it is another's, and serves several."""
    versions = config.get("version_policy", {}).get("specific", {}).get("versions", [])
    return int(versions[0]) if len(versions) == 1 else 0


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
