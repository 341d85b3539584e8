"""The user's own pictures for the builder: to calibrate quantisation on, and to evaluate engines with."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from services.builder.compilers.base import Array
from services.builder.precision import PRECISIONS
from services.core.card import Preprocessing
from services.core.errors import AccuracyError, ImageError, SettingsError
from services.core.record import Evaluation
from services.core.stage import progress
from services.images.find import images_in
from services.images.preprocess import input_from_file

log = logging.getLogger(__name__)

CALIBRATION_IMAGES = 512  # ranges settle long before; entropy and memory grow with more
_EVAL_CHUNK = 128


def calibration_inputs(folder: Path | None, preprocessing: Preprocessing, golden: Array, max_pixels: int) -> tuple[Array, str]:
    """Inputs to measure value ranges on, UINT8 ``[N,H,W,3]`` or FP32 ``[N,3,H,W]``, and a warning or "".

    Raises:
        SettingsError: CALIBRATION_DIR holds no picture that can be read.
    """
    if folder is None:
        return golden, (
            f"calibrated on the {len(golden)} golden inputs, which do not stand for your pictures: "
            "set CALIBRATION_DIR to a folder of some hundred of them"
        )
    inputs = []
    for path in images_in(folder)[:CALIBRATION_IMAGES]:
        try:
            inputs.append(input_from_file(path, preprocessing, max_pixels=max_pixels))
        except ImageError as error:
            log.warning("calibration goes on without %s", error)
    if not inputs:
        raise SettingsError(f"CALIBRATION_DIR={folder} holds no picture that can be read", hint="name a folder of JPEG or PNG files")
    few = len(inputs) < len(golden)
    return np.stack(inputs), f"calibrated on {len(inputs)} pictures only; some hundred give steadier ranges" if few else ""


@dataclass(frozen=True)
class LabelledFolder:
    """Pictures with their classes: a sub-folder per class, named by its label or its index."""

    pictures: tuple[tuple[Path, int], ...]

    @classmethod
    def read(cls, folder: Path, labels: tuple[str, ...]) -> "LabelledFolder":
        """Match sub-folders to classes; unnamed ones count in alphabetical order where there is one for every class.

        Raises:
            SettingsError: there are no pictures, or a sub-folder that is no class.
        """
        folders = sorted(path for path in folder.glob("*") if path.is_dir() and not path.name.startswith("."))
        indices = {label: index for index, label in reversed(list(enumerate(labels)))} | {str(index): index for index in range(len(labels))}
        unknown = [path.name for path in folders if path.name not in indices]
        if unknown and len(folders) == len(labels):
            indices = {path.name: index for index, path in enumerate(folders)}
        elif unknown:
            raise SettingsError(
                f"EVAL_DIR={folder}: {unknown[0]!r} is no class of the model ({len(unknown)} of {len(folders)} sub-folders are none)",
                hint="name the sub-folders by label (see labels.txt) or by class index",
            )
        pictures = tuple((picture, indices[path.name]) for path in folders for picture in images_in(path))
        if not pictures:
            raise SettingsError(f"EVAL_DIR={folder} holds no pictures in sub-folders", hint="expected <EVAL_DIR>/<class>/<picture>.jpg")
        return cls(pictures)

    def chunks(self, preprocessing: Preprocessing, max_pixels: int) -> Iterator[tuple[Array, Array]]:
        """Inputs and class indices, some at a time; pictures that cannot be read are left out with a warning."""
        for start in range(0, len(self.pictures), _EVAL_CHUNK):
            chunk = self.pictures[start : start + _EVAL_CHUNK]
            inputs, classes = [], []
            for path, index in chunk:
                try:
                    inputs.append(input_from_file(path, preprocessing, max_pixels=max_pixels))
                    classes.append(index)
                except ImageError as error:
                    log.warning("evaluation goes on without %s", error)
            if inputs:
                yield np.stack(inputs), np.asarray(classes)


def evaluate(
    labelled: LabelledFolder,
    preprocessing: Preprocessing,
    original: Callable[[Array], Array],
    engine: Callable[[Array], Array],
    max_pixels: int,
) -> Evaluation:
    """Share of right answers of the original graph and of the engine, both functions from inputs to scores ``[N,classes]``."""
    hits = np.zeros((2, 2), dtype=int)
    count = 0
    with progress(f"evaluating on {len(labelled.pictures)} pictures"):
        for inputs, classes in labelled.chunks(preprocessing, max_pixels):
            count += len(classes)
            for row, run in enumerate((original, engine)):
                ranked = np.argsort(-run(inputs), axis=1)[:, :5] == classes[:, None]
                hits[row] += (ranked[:, 0].sum(), ranked.any(axis=1).sum())
    if not count:
        raise SettingsError("EVAL_DIR: no picture could be read", hint="the warnings above name them")
    (top1_before, top5_before), (top1, top5) = (hits / count).tolist()
    return Evaluation(images=count, top1_before=top1_before, top5_before=top5_before, top1=top1, top5=top5)


def demand_evaluation(evaluation: Evaluation, precision: str) -> None:
    """Refuse an engine that answers wrong more often than its precision may; one picture is always forgiven.

    Raises:
        AccuracyError: with top-1 before and after.
    """
    allowed = max(PRECISIONS[precision].allowed_loss, 1 / evaluation.images)
    if evaluation.top1_before - evaluation.top1 > allowed + 1e-9:
        raise AccuracyError(
            f"top-1 on {evaluation.images} pictures of EVAL_DIR fell from {evaluation.top1_before:.2%} to {evaluation.top1:.2%} "
            f"at {precision}, expected a loss of at most {allowed:.2%}",
            hint="nothing was published; calibrate on more pictures like these (CALIBRATION_DIR), or take a higher PRECISION",
        )
