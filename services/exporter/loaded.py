"""What every source gives the exporter, whatever it is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import onnx

from services.core.card import LONGEST_SIDE, Preprocessing
from services.core.settings import ExporterSettings

Array = npt.NDArray[Any]

# ImageNet's usual preprocessing, for a model that says nothing of its own.
IMAGENET = Preprocessing(
    resize=256,
    crop=224,
    interpolation="bilinear",
    layout="NCHW",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    normalised_in_graph=False,
)


@dataclass(frozen=True)
class Loaded:
    """A classifier with its graph and the original that the graph is measured against.

    Attributes:
        graph: ``input`` FP32 ``[batch,3,H,W]`` normalised, to ``scores`` FP32 ``[batch,classes]`` of the kind that SCORES asks for.
        original: the original model: FP32 ``[N,3,H,W]`` to FP32 ``[N,classes]``, of the graph's kind of scores.
        preprocessing: from a photograph to the graph's input.
        labels: one name per class.
        weights: where the weights came from, in words.
        weights_sha256: hash of the weights.
    """

    graph: onnx.ModelProto
    original: Callable[[Array], Array]
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    weights: str
    weights_sha256: str


def preprocessing_from(settings: ExporterSettings, own: Preprocessing) -> Preprocessing:
    """The model's own preprocessing, with what the settings say instead."""
    said = {key: getattr(settings, key) for key in ("resize", "crop", "interpolation", "mean", "std")}
    update = {key: value for key, value in said.items() if value is not None}
    if "crop" in update and "resize" not in update:
        update["resize"] = min(LONGEST_SIDE, max(update["crop"], round(own.resize * update["crop"] / own.crop)))
    return Preprocessing.model_validate(own.model_dump() | update)


def generic_labels(count: int) -> tuple[str, ...]:
    """Names for classes that nobody named."""
    return tuple(f"class {index}" for index in range(count))
