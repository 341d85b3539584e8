"""The model card: the single source of what a model is.

The exporter writes ``card.json``; the builder derives ``config.pbtxt`` from it and copies it to the served model; the
client takes its preprocessing from it. Format 1: JSON, ``format_version`` first.
"""

import json
from pathlib import Path
from typing import Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from services.core.errors import ContractError
from services.core.files import write_atomically

FORMAT_VERSION = "1.0"
BATCH = -1

Document = TypeVar("Document", bound=BaseModel)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Tensor(_Part):
    """A graph input or output; ``shape`` has -1 for the batch."""

    name: str
    dtype: Literal["UINT8", "FP32"]
    shape: tuple[int, ...]

    @model_validator(mode="after")
    def _batch_is_dynamic(self) -> Self:
        if not self.shape or self.shape[0] != BATCH or any(size < 1 for size in self.shape[1:]):
            raise ValueError(f"{self.name}: expected a shape [-1, ...] with fixed other dimensions, found {list(self.shape)}")
        return self


class Preprocessing(_Part):
    """From an image file to the input tensor: decode, turn upright, RGB, resize, centre crop, normalise."""

    resize: int = Field(ge=1, description="length of the short side after the resize, in pixels")
    crop: int = Field(ge=1, description="side of the centre crop, in pixels")
    interpolation: Literal["bilinear", "bicubic"]
    layout: Literal["NHWC", "NCHW"]
    mean: tuple[float, float, float] = Field(description="per channel, of pixels in 0..1")
    std: tuple[float, float, float] = Field(description="per channel, of pixels in 0..1")
    normalised_in_graph: bool = Field(description="the graph takes pixels, and normalises them itself")


class Source(_Part):
    """Where model and weights came from."""

    model: str
    weights: str
    weights_sha256: str


class Onnx(_Part):
    """The exported graph."""

    sha256: str
    opset: int
    producer: str


class Golden(_Part):
    """The golden set: ``golden.npz`` with the input and the original model's FP32 scores for it."""

    count: int
    sha256: str
    made_from: str


class ModelCard(_Part):
    """What a model is; precision and measurements belong to the build record instead."""

    format_version: str = FORMAT_VERSION
    name: str
    source: Source
    onnx: Onnx
    inputs: tuple[Tensor, ...] = Field(min_length=1, max_length=1)
    outputs: tuple[Tensor, ...] = Field(min_length=1, max_length=1)
    preprocessing: Preprocessing
    scores: Literal["probabilities", "logits"]
    labels: int = Field(description="number of classes")
    labels_sha256: str
    golden: Golden
    fingerprint: str = Field(description="of everything the export depends on")
    created_by: dict[str, str] = Field(description="tool versions")

    @property
    def input(self) -> Tensor:
        """The one input."""
        return self.inputs[0]

    @property
    def output(self) -> Tensor:
        """The one output, FP32 ``[-1, classes]``."""
        return self.outputs[0]

    def dumps(self) -> str:
        """The card as JSON text."""
        return self.model_dump_json(indent=2) + "\n"

    def dump(self, path: Path) -> None:
        """Write the card atomically."""
        write_atomically(path, self.dumps())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read and validate a card.

        Raises:
            ContractError: it is missing, damaged, or of another major format version.
        """
        return cls.loads(read_text(path, "run the exporter first: docker compose run --rm exporter"), str(path))

    @classmethod
    def loads(cls, text: str, origin: str) -> Self:
        """Validate a card that came from ``origin``."""
        return validated(cls, text, origin, FORMAT_VERSION, "run the exporter of this release again")


def read_text(path: Path, hint: str) -> str:
    """The content of a contract file.

    Raises:
        ContractError: it is missing or cannot be read.
    """
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ContractError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}", hint=hint) from None


def validated(kind: type[Document], text: str, origin: str, version: str, hint: str) -> Document:
    """Parse a versioned JSON document; the major version is looked at before anything else."""
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise ContractError(f"{origin} is not JSON: {error}", hint=hint) from None
    found = raw.get("format_version") if isinstance(raw, dict) else None
    if not isinstance(found, str) or found.partition(".")[0] != version.partition(".")[0]:
        newer = "; it was written by another release of this stack"
        raise ContractError(f"{origin} has format_version {found!r}, expected {version}{newer}", hint=hint)
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, p['loc'])) or 'document'}: {p['msg']}" for p in error.errors())
        raise ContractError(f"{origin} is damaged: {problems}", hint=hint) from None
