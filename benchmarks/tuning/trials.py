"""Two copies of a live version in the running server, under names of their own, each served as a choice has it.

The model that serves users stays as it is: the copies are folders of links beside it in the repository, loaded and unloaded by the
model-control API. Both are loaded at a time, so that two choices can be measured alternately without a pause.
"""

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from benchmarks.load import Clients, Load
from benchmarks.published import Published, Question
from benchmarks.tuning.choice import Choice
from benchmarks.tuning.search import UnfitError
from services.builder.model_config import IMAGE_VERSION
from services.builder.server import Server
from services.core.errors import ContractError, ServerError
from services.core.files import remove_tree, write_atomically, writing
from services.core.names import image_name, trial_name
from services.core.published import CONFIG, ENCODED

SLOTS = ("a", "b")
_REQUESTS = 150
_LEAST_SECONDS, _MOST_SECONDS, _WARM_UP_SECONDS = 0.7, 2.5, 0.3


@dataclass(frozen=True)
class Target:
    """What is measured: the live version, the config of the model beside it that takes files, and how it is asked."""

    published: Published
    image: pb.ModelConfig
    files: bool
    protocol: str
    address: str

    @classmethod
    def read(cls, folder: Path, *, files: bool, protocol: str, address: str) -> Self:
        """Read the folder of a published model.

        Raises:
            ContractError: it holds none, or none that takes files.
        """
        published, beside = Published.read(folder), folder.with_name(image_name(folder.name)) / CONFIG
        try:
            image = text_format.Parse(beside.read_text(), pb.ModelConfig())
        except (OSError, text_format.ParseError) as error:
            raise ContractError(f"{folder.name} has no model that takes files: {error}", hint="scripts/builder build makes it") from None
        return cls(published, image, files, protocol, address)

    def questions(self, server: Server, pictures: Sequence[bytes]) -> list[Question]:
        """Questions with known answers: of the golden set, or ``pictures`` as files, with what the live model says of them."""
        if not self.files:
            return [self.published.question(row) for row in range(len(self.published.golden.inputs))]
        name, output = self.image.name, self.image.output[0].name
        asked = ((one, np.array([[one]], np.object_)) for one in pictures)
        return [self.published.file_question(one, server.infer(name, IMAGE_VERSION, (ENCODED, sent), output)) for one, sent in asked]


class Trials:
    """Measures choices; use ``trials``, which clears up."""

    def __init__(
        self, target: Target, server: Server, questions: Sequence[Question], clients: contextlib.ExitStack, most_seconds: float
    ) -> None:
        self._target, self._server, self._questions, self._stack = target, server, questions, clients
        self._most_seconds = max(_LEAST_SECONDS, min(_MOST_SECONDS, most_seconds))
        self._slots: dict[str, Choice | None] = dict.fromkeys(SLOTS)  # the one that was used last is the last
        self._rates: dict[Choice, float] = {}
        self._clients, self._most = Clients(0), 0

    def measure(self, choice: Choice, clients: int) -> Load:
        """Ask the copy that is served so, for as long as a percentile needs.

        Raises:
            UnfitError: the server does not load it, or it does not answer.
            ServerError: the server is gone.
        """
        try:
            slot = next((slot for slot, held in self._slots.items() if held == choice), None) or self._load(choice)
            self._slots[slot] = self._slots.pop(slot)
            rate = self._rates.get(choice) or self._ask(slot, clients, _WARM_UP_SECONDS).rate
            load = self._ask(slot, clients, min(self._most_seconds, max(_LEAST_SECONDS, _REQUESTS / max(rate, 1))))
        except ServerError as error:
            if self._server.answers():
                raise UnfitError(str(error), hint=error.hint) from error
            raise
        self._rates[choice] = load.rate
        return load

    def _ask(self, slot: str, number: int, seconds: float) -> Load:
        name = trial_name(self._target.published.folder.name, slot)
        asked = [replace(one, model=image_name(name) if self._target.files else name) for one in self._questions]
        if number > self._most:
            self._stack.close()
            self._most = max(number, 2 * self._most)
            self._clients = self._stack.enter_context(Clients(self._most))
        questions = list(itertools.islice(itertools.cycle(asked), number))
        return self._clients.measure(self._target.protocol, self._target.address, questions, seconds=seconds)

    def _load(self, choice: Choice) -> str:
        """Have the copy that was not used for longer served so; return its slot."""
        slot = next(iter(self._slots))
        self._slots[slot] = None
        self._rates.pop(choice, None)
        published = self._target.published
        name = trial_name(published.folder.name, slot)
        self._write(name, published.version, choice.model(published.config, name))
        self._server.load(name, int(published.version.name))
        if self._target.files:
            image = image_name(name)
            source = published.folder.with_name(self._target.image.name) / str(IMAGE_VERSION)
            self._write(image, source, choice.image(self._target.image, image, name))
            self._server.load(image, IMAGE_VERSION)
        self._slots[slot] = choice
        return slot

    def _write(self, name: str, version: Path, config: str) -> None:
        """A folder of a copy: its config, and a link to the version. What is unchanged stays, so the server does not load it again."""
        folder = self._target.published.folder.with_name(name)
        with writing(folder):
            folder.mkdir(exist_ok=True)
            link = folder / version.name
            if not link.is_symlink():
                link.symlink_to(Path("..") / version.parent.name / version.name)
            if not (folder / CONFIG).is_file() or (folder / CONFIG).read_text() != config:
                write_atomically(folder / CONFIG, config)


@contextlib.contextmanager
def trials(target: Target, server: Server, pictures: Sequence[bytes], most_seconds: float) -> Iterator[Trials]:
    """Copies to measure with; afterwards, whatever happened, neither the server nor the repository has them any more.

    The caller holds the lock of the model: there is one pair of copies. ``most_seconds`` bounds a measurement.
    """
    _clear(target, server)  # of a run that was killed
    with contextlib.ExitStack() as clients:
        try:
            yield Trials(target, server, target.questions(server, pictures), clients, most_seconds)
        finally:
            clients.close()
            _clear(target, server)


def _clear(target: Target, server: Server) -> None:
    folder = target.published.folder
    for slot in SLOTS:
        name = trial_name(folder.name, slot)
        for one, version in ((image_name(name), IMAGE_VERSION), (name, int(target.published.version.name))):
            if folder.with_name(one).exists():
                with writing(folder.with_name(one)):
                    remove_tree(folder.with_name(one))
            with contextlib.suppress(ServerError):  # it is gone, and has forgotten them
                if server.is_ready(one, version):
                    server.unload(one)
