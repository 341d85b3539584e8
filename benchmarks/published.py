"""A published model folder as the builder writes it: its config, its live version, and questions with known answers."""

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from services.core.card import ModelCard
from services.core.errors import AccuracyError, ContractError
from services.core.names import image_name
from services.core.published import CARD, CONFIG, ENCODED, GOLDEN, RECORD
from services.core.record import BuildRecord
from services.numerics.agreement import Limits, measure
from services.numerics.golden import Golden, load_golden

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Question:
    """Examples for a model: ``data`` is its input ``[N, ...]`` as it is sent, ``scores`` FP32 ``[N, classes]`` the known answer."""

    model: str
    input: str
    dtype: str
    shape: tuple[int, ...]
    data: bytes
    output: str
    scores: Array
    limits: Limits

    def check(self, answer: bytes) -> None:
        """Compare FP32 scores as the server sent them.

        Raises:
            AccuracyError: the answer is wrong.
        """
        found = np.frombuffer(answer, np.float32)
        if found.size != self.scores.size:
            raise AccuracyError(f"{self.model} answered with {found.size} scores, expected {self.scores.size}")
        if problems := measure(found.reshape(self.scores.shape), self.scores, self.limits).problems:
            raise AccuracyError(f"{self.model} answered wrong: {'; '.join(problems)}")


@dataclass(frozen=True)
class Published:
    """A model folder ``<repository>/<model>``."""

    folder: Path
    config: pb.ModelConfig
    card: ModelCard
    golden: Golden
    limits: Limits

    @classmethod
    def read(cls, folder: Path) -> "Published":
        """Read the live version.

        Raises:
            ContractError: the folder holds no published model.
        """
        try:
            config = text_format.Parse((folder / CONFIG).read_text(), pb.ModelConfig())
            version = folder / str(config.version_policy.specific.versions[0])
            accuracy = json.loads((version / RECORD).read_text())["accuracy"]
        except (OSError, text_format.ParseError, IndexError, KeyError, ValueError) as error:
            raise ContractError(
                f"{folder} is no published model: {error}", hint="name a folder of the model repository: model_repository/<model>"
            ) from None
        return cls(folder, config, ModelCard.load(version / CARD), load_golden(version / GOLDEN), Limits.of(accuracy))

    @property
    def version(self) -> Path:
        """Folder of the live version."""
        return self.folder / str(self.config.version_policy.specific.versions[0])

    @property
    def record(self) -> BuildRecord:
        """How the live version was made.

        Raises:
            ContractError: its record is damaged.
        """
        return BuildRecord.load(self.version / RECORD)

    def question(self, row: int, count: int = 1) -> Question:
        """``count`` golden examples from ``row`` on; the rows are gone round in circles."""
        rows = np.arange(row, row + count) % len(self.golden.inputs)
        pixels = self.golden.inputs[rows]
        return Question(
            model=self.config.name,
            input=self.config.input[0].name,
            dtype=pb.DataType.Name(self.config.input[0].data_type).removeprefix("TYPE_"),
            shape=pixels.shape,
            data=pixels.tobytes(),
            output=self.config.output[0].name,
            scores=self.golden.scores[rows],
            limits=self._limits(count),
        )

    def file_question(self, picture: bytes, scores: Array) -> Question:
        """A picture as a file, for the model beside this one that takes files; ``scores`` FP32 ``[1, classes]`` is its known answer."""
        return self.files_question([picture], scores)

    def files_question(self, pictures: Sequence[bytes], scores: Array, *, slack: float = 1) -> Question:
        """Pictures as files, for the model beside this one that takes files; ``scores`` FP32 ``[N, classes]`` are the known answers.

        ``slack`` multiplies the errors that are allowed.
        """
        limits = self._limits(len(pictures))
        return Question(
            model=image_name(self.config.name),
            input=ENCODED,
            dtype="BYTES",
            shape=(len(pictures), 1),
            # The protocol puts its length before each element.
            data=b"".join(struct.pack("<I", len(picture)) + picture for picture in pictures),
            output=self.config.output[0].name,
            scores=scores,
            limits=Limits(limits.min_top1_agreement, slack * limits.max_error_tolerance, slack * limits.mean_error_tolerance),
        )

    def _limits(self, rows: int) -> Limits:
        """What the limits of the golden set imply for ``rows`` that are taken from it one after the other, some more than once."""
        whole = len(self.golden.inputs)
        return self.limits.of_part(rows, whole * -(-rows // whole))
