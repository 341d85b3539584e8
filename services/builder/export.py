"""What the exporter left for the builder, with its hashes checked."""

from dataclasses import dataclass
from pathlib import Path

from services.core.card import ModelCard
from services.core.errors import ContractError
from services.core.files import sha256_of
from services.core.hints import command
from services.numerics.golden import Golden, load_golden

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
    graph, labels, golden = folder / "model.onnx", folder / "labels.txt", folder / "golden.npz"
    for path, expected in ((graph, card.onnx.sha256), (golden, card.golden.sha256), (labels, card.labels_sha256)):
        if not path.is_file():
            raise ContractError(f"{path} is missing, and {folder / 'card.json'} names it", hint=_AGAIN)
        if (found := sha256_of(path)) != expected:
            raise ContractError(f"{path} has sha256 {found[:12]}…, the card says {expected[:12]}…", hint=_AGAIN)
    return Export(card, graph, labels, golden, load_golden(golden))
