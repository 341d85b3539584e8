"""Does the live server still answer as the original model did?"""

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt

from services.client.report import verify_text
from services.client.served import ServedModel
from services.core.errors import AccuracyError, ServerError
from services.core.hints import command
from services.core.published import GOLDEN, RECORD
from services.core.record import BuildRecord
from services.core.settings import ClientSettings
from services.numerics.agreement import Limits, measure
from services.numerics.dtypes import NUMPY
from services.numerics.golden import Golden, golden_of

log = logging.getLogger(__name__)

_HINT = "mount the model repository, set MODEL_REPOSITORY_DIR, or name the file with --golden"


def verify(model: ServedModel, settings: ClientSettings, golden_file: Path | None, *, as_json: bool) -> None:
    """Send the golden set to the server, and print and judge the agreement.

    Args:
        model: whom to ask.
        settings: where the model repository is.
        golden_file: another golden set than the published version's own.
        as_json: print one JSON object instead of text.

    Raises:
        AccuracyError: the answers differ by more than the version's own tolerance.
        ContractError: golden set or build record are missing or damaged.
        ServerError: the server refuses, or another version went live meanwhile.
    """
    version = _live_version(model)
    published = settings.model_repository_dir / model.name / str(version)
    file = golden_file or published / GOLDEN
    golden = golden_of(file, model.card, _HINT)
    beside = file.with_name(RECORD)
    record = BuildRecord.load(beside if beside.is_file() else published / RECORD)
    log.info("sending %d golden inputs of %s to version %d at %s", len(golden.inputs), file, version, model.transport.where)
    found = measure(_served_scores(model, golden, version), golden.scores, Limits.of(record.accuracy.model_dump()))
    print(verify_text(model.name, version, found, as_json=as_json), flush=True)  # noqa: T201 - the data
    if found.problems:
        raise AccuracyError(
            f"version {version} of {model.name} disagrees with the original model: {'; '.join(found.problems)}",
            hint=f"serve an older version again: {command('builder', 'rollback')}",
        )


def _live_version(model: ServedModel) -> int:
    """The version that answers, found by asking about one input of zeros."""
    card = model.card
    return model.ask(np.zeros((1, *card.input.shape[1:]), NUMPY[card.input.dtype]), classes=1).version


def _served_scores(model: ServedModel, golden: Golden, version: int) -> npt.NDArray[np.float32]:
    scores = []
    for batch in golden.batches(model.batch):
        answer = model.ask(batch.inputs)
        if answer.version != version:
            raise ServerError(f"version {answer.version} went live while version {version} was being verified", hint="run it again")
        scores.append(answer.output)
    return np.concatenate(scores)
