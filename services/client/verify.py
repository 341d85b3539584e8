"""Does the live server still answer as the original model did?"""

import logging
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from services.client.report import verify_text
from services.client.served import ServedModel
from services.client.transport import Transport
from services.core.card import ModelCard
from services.core.errors import AccuracyError, ContractError, ServerError
from services.core.record import Accuracy, BuildRecord
from services.core.settings import ClientSettings

log = logging.getLogger(__name__)

GOLDEN = "golden.npz"
RECORD = "build.json"
_DTYPES = {"UINT8": "uint8", "FP32": "float32"}


class Golden(NamedTuple):
    """Inputs ``[N, ...]`` as the graph takes them, and the original model's FP32 scores ``[N, classes]``."""

    inputs: npt.NDArray[Any]
    scores: npt.NDArray[np.float32]


def verify(transport: Transport, settings: ClientSettings, golden_file: Path | None, *, as_json: bool) -> None:
    """Send the golden set to the server, and print and judge the agreement.

    Args:
        transport: the server; the model is ready.
        settings: model, batch, and the folder of the model repository.
        golden_file: another golden set than the published version's own.
        as_json: print one JSON object instead of text.

    Raises:
        AccuracyError: the answers differ by more than the version's own tolerance.
        ContractError: golden set or build record are missing or damaged.
        ServerError: the server refuses, or another version went live meanwhile.
    """
    model = ServedModel.of(transport, settings)
    version = _live_version(model)
    published = settings.model_repository_dir / model.name / str(version)
    file = golden_file or published / GOLDEN
    golden = load_golden(file, model.card)
    beside = file.with_name(RECORD)
    record = BuildRecord.load(beside if beside.is_file() else published / RECORD)
    log.info("sending %d golden inputs of %s to version %d at %s", len(golden.inputs), file, version, transport.where)
    accuracy = agreement(golden.scores, _served_scores(model, golden.inputs, version), record.accuracy)
    passed = is_within(accuracy)
    print(verify_text(model.name, version, accuracy, passed=passed, as_json=as_json), flush=True)  # noqa: T201 - the data
    if not passed:
        raise AccuracyError(
            f"version {version} of {model.name} disagrees with the original model by more than it did when it was built",
            hint="put an older version back: builder rollback",
        )


def load_golden(file: Path, card: ModelCard) -> Golden:
    """Read a golden set and hold it against the card.

    Raises:
        ContractError: it is missing, damaged, or belongs to another model.
    """
    hint = "mount the model repository, set MODEL_REPOSITORY_DIR, or name the file with --golden"
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            golden = Golden(arrays["inputs"], arrays["scores"])
    except OSError as error:
        raise ContractError(f"cannot read {file}: {error.strerror or error}", hint=hint) from None
    except Exception as error:  # a damaged archive makes zipfile and numpy raise almost anything
        raise ContractError(f"{file} is no golden set: {error}", hint="run exporter and builder again") from None
    expected = (card.input.shape[1:], card.output.shape[1:], np.dtype(_DTYPES[card.input.dtype]))
    found = (golden.inputs.shape[1:], golden.scores.shape[1:], golden.inputs.dtype)
    if found != expected or not 0 < len(golden.inputs) == len(golden.scores):
        sizes = f"inputs {golden.inputs.dtype} {golden.inputs.shape}, scores {golden.scores.shape}"
        wanted = f"inputs {card.input.dtype} {card.input.shape}, scores {card.output.shape}"
        raise ContractError(f"{file} holds {sizes}; the served model's card says {wanted}", hint=hint)
    return golden


def agreement(expected: npt.NDArray[np.float32], found: npt.NDArray[np.float32], limits: Accuracy) -> Accuracy:
    """Measure how far the scores ``[N, classes]`` agree, with the limits of the build record."""
    error = np.abs(found.astype(np.float64) - expected)
    return limits.model_copy(
        update={
            "samples": len(expected),
            "top1_agreement": float(np.mean(found.argmax(axis=1) == expected.argmax(axis=1))),
            "max_error": float(error.max()),
            "mean_error": float(error.mean()),
        }
    )


def is_within(accuracy: Accuracy) -> bool:
    """Whether the measured agreement is within its limits; a score that is not a number never is."""
    return (
        accuracy.top1_agreement >= accuracy.min_top1_agreement
        and accuracy.max_error <= accuracy.max_error_tolerance
        and accuracy.mean_error <= accuracy.mean_error_tolerance
    )


def _live_version(model: ServedModel) -> int:
    """The version that answers: one picture of zeros asks for it."""
    card = model.card
    zeros = np.zeros((1, *card.input.shape[1:]), _DTYPES[card.input.dtype])
    return model.ask(zeros, classes=1).version


def _served_scores(model: ServedModel, inputs: npt.NDArray[Any], version: int) -> npt.NDArray[np.float32]:
    scores = []
    for start in range(0, len(inputs), model.batch):
        answer = model.ask(np.ascontiguousarray(inputs[start : start + model.batch]))
        if answer.version != version:
            raise ServerError(f"version {answer.version} went live while version {version} was being verified", hint="run it again")
        scores.append(answer.output)
    return np.concatenate(scores)
