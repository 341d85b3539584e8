"""What the exporter left for the builder, with its hashes checked."""

from dataclasses import dataclass
from pathlib import Path

from services.core.card import ModelCard
from services.core.errors import ContractError
from services.core.files import sha256_of
from services.core.hints import command
from services.numerics.golden import Golden, golden_of

_AGAIN = f"run the exporter again: {command('exporter', '--force')}"


@dataclass(frozen=True)
class Export:
    """What the exporter left, with its hashes checked."""

    card: ModelCard
    graph: Path
    labels: Path
    golden_file: Path
    golden: Golden

    def label_names(self) -> tuple[str, ...]:
        """Names of the classes, by index."""
        return tuple(self.labels.read_text(encoding="utf-8").splitlines())


def read_export(folder: Path) -> Export:
    """Read what the exporter left.

    Raises:
        ContractError: something is missing, damaged, or not what the card says.
    """
    card = ModelCard.load(folder / "card.json")
    if card.name != folder.name:
        raise ContractError(f"{folder / 'card.json'} is of a model {card.name}, expected {folder.name}", hint=_AGAIN)
    graph, labels, golden = folder / "model.onnx", folder / "labels.txt", folder / "golden.npz"
    for path, expected in ((graph, card.onnx.sha256), (golden, card.golden.sha256), (labels, card.labels_sha256)):
        if not path.is_file():
            raise ContractError(f"{path} is missing, and {folder / 'card.json'} names it", hint=_AGAIN)
        if (found := sha256_of(path)) != expected:
            raise ContractError(f"{path} has sha256 {found[:12]}…, the card says {expected[:12]}…", hint=_AGAIN)
    export = Export(card, graph, labels, golden, golden_of(golden, card, _AGAIN))
    try:
        names = len(export.label_names())
    except UnicodeDecodeError as error:
        raise ContractError(f"{labels} is no UTF-8 text: {error}", hint=_AGAIN) from None
    if names != card.labels:
        raise ContractError(f"{labels} has {names} names, the card says {card.labels}", hint=_AGAIN)
    return export
