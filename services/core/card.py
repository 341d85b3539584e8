"""The model card: the single source of what a model is.

The exporter writes ``card.json``; the builder derives ``config.pbtxt`` from it and copies it to the served model; the
client takes its preprocessing from it. Format 1: JSON, ``format_version`` first.
"""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from services.core.documents import Document, Part
from services.core.hints import command

BATCH = -1
LONGEST_SIDE = 16_384
"""Of a resized picture, in pixels."""
Interpolation = Literal["bilinear", "bicubic"]


class Tensor(Part):
    """A graph input or output; ``shape`` has -1 for the batch."""

    name: str
    dtype: Literal["UINT8", "FP32"]
    shape: tuple[int, ...]

    @model_validator(mode="after")
    def _batch_is_dynamic(self) -> Self:
        if not self.shape or self.shape[0] != BATCH or any(size < 1 for size in self.shape[1:]):
            raise ValueError(f"{self.name}: expected a shape [-1, ...] with fixed other dimensions, found {list(self.shape)}")
        return self


class Preprocessing(Part):
    """From an image file to the input tensor: decode, turn upright, RGB, resize, centre crop, normalise."""

    resize: int = Field(ge=1, le=LONGEST_SIDE, description="length of the short side after the resize, in pixels")
    crop: int = Field(ge=1, le=LONGEST_SIDE, description="side of the centre crop, in pixels")
    interpolation: Interpolation
    layout: Literal["NHWC", "NCHW"]
    mean: tuple[float, float, float] = Field(description="per channel, of pixels in 0..1")
    std: tuple[float, float, float] = Field(description="per channel, of pixels in 0..1")
    normalised_in_graph: bool = Field(description="the graph takes pixels, and normalises them itself")


class Source(Part):
    """Where model and weights came from."""

    model: str
    weights: str
    weights_sha256: str


class Onnx(Part):
    """The exported graph."""

    sha256: str
    opset: int
    producer: str


class Golden(Part):
    """The golden set: ``golden.npz`` with the input and the original model's FP32 scores for it."""

    count: int
    sha256: str
    made_from: str


class ModelCard(Document):
    """What a model is; precision and measurements belong to the build record instead."""

    FORMAT: ClassVar[str] = "1.0"
    HINT: ClassVar[str] = f"run the exporter of this release: {command('exporter')}"

    format_version: str = FORMAT
    name: str
    source: Source
    onnx: Onnx
    inputs: tuple[Tensor, ...] = Field(min_length=1, max_length=1)
    outputs: tuple[Tensor, ...] = Field(min_length=1, max_length=1)
    preprocessing: Preprocessing
    scores: Literal["probabilities", "logits"]
    labels: int = Field(ge=1, description="number of classes")
    labels_sha256: str
    golden: Golden
    fingerprint: str = Field(description="of everything the export depends on")
    created_by: dict[str, str] = Field(description="tool versions")

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        size = self.preprocessing.crop
        taken = (BATCH, size, size, 3) if self.preprocessing.layout == "NHWC" else (BATCH, 3, size, size)
        pixels = "UINT8" if self.preprocessing.normalised_in_graph else "FP32"
        for tensor, dtype, shape in ((self.input, pixels, taken), (self.output, "FP32", (BATCH, self.labels))):
            if (tensor.dtype, tensor.shape) != (dtype, shape):
                found, expected = f"{tensor.dtype} {list(tensor.shape)}", f"{dtype} {list(shape)}"
                raise ValueError(f"{tensor.name}: found {found}, expected {expected} by preprocessing and labels")
        return self

    @property
    def input(self) -> Tensor:
        """The one input."""
        return self.inputs[0]

    @property
    def output(self) -> Tensor:
        """The one output, FP32 ``[-1, classes]``."""
        return self.outputs[0]
