"""Is a published version what was published? Asked by the builder before it works with one, and by the server before each start."""

from pathlib import Path

from services.core.card import ModelCard
from services.core.errors import ContractError
from services.core.files import sha256_of
from services.core.published import CARD, GOLDEN, LABELS, RECORD
from services.core.record import BuildRecord


def proven(version: Path) -> tuple[BuildRecord, ModelCard]:
    """Record and card of a version's folder, whose engine, golden set and labels are those that were proven.

    Raises:
        ContractError: something is missing, damaged or changed.
    """
    record = BuildRecord.load(version / RECORD)
    card = ModelCard.load(version / CARD)
    hashes = {
        record.engine_file: record.engine_sha256,
        CARD: record.card_sha256,
        GOLDEN: card.golden.sha256,
        LABELS: card.labels_sha256,
    }
    try:
        changed = [name for name, expected in hashes.items() if sha256_of(version / name) != expected]
    except OSError as error:
        raise ContractError(f"cannot read {error.filename}: {error.strerror}", hint=record.HINT) from None
    if changed:
        raise ContractError(f"{', '.join(changed)} in {version} changed after the version was published", hint=record.HINT)
    return record, card
