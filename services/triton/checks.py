"""What keeps a published model from being served, seen before the server starts."""

from collections.abc import Mapping
from pathlib import Path

from services.core.card import ModelCard
from services.core.errors import ContractError
from services.core.files import sha256_of
from services.core.hints import command
from services.core.names import image_name
from services.core.published import CARD, CONFIG, GOLDEN, LABELS, RECORD, live_version
from services.core.record import BuildRecord


def demand_published(repository: Path, name: str) -> Path:
    """The folder of the published model.

    Raises:
        ContractError: it is not published.
    """
    if not (repository / name / CONFIG).is_file():
        published = {config.parent.name for config in repository.glob(f"*/{CONFIG}")}
        there = ", ".join(sorted(published - {image_name(found) for found in published})) or "no model"
        raise ContractError(
            f"model {name} is not published in {repository}; found {there}",
            hint=f"run the builder for it (MODEL, MODEL_NAME): {command('builder', 'build')}",
        )
    return repository / name


def demand_servable(folder: Path, environ: Mapping[str, str]) -> None:
    """Refuse a live version that is not what was published, or that this server could not load.

    Args:
        folder: of the model.
        environ: NVIDIA's tritonserver image says its TensorRT version there, in TRT_VERSION.

    Raises:
        ContractError: something is missing, damaged or changed, or a plan is of another TensorRT.
    """
    number = live_version((folder / CONFIG).read_text())
    version, hint = folder / str(number), f"serve a good version: {command('builder', 'rollback')}"
    try:
        record, card = BuildRecord.load(version / RECORD), ModelCard.load(version / CARD)
        hashes = {
            record.engine_file: record.engine_sha256,
            CARD: record.card_sha256,
            GOLDEN: card.golden.sha256,
            LABELS: card.labels_sha256,
        }
        changed = [name for name, expected in hashes.items() if sha256_of(version / name) != expected]
    except OSError as error:
        raise ContractError(f"version {number} of {folder.name} cannot be read: {error}", hint=hint) from None
    if changed:
        raise ContractError(f"{', '.join(changed)} in {version} changed after the version was published", hint=hint)
    here, compiler = environ.get("TRT_VERSION", "").partition("+")[0].partition("-")[0], record.compiler
    if here and compiler.name == "tensorrt" and compiler.version != here:
        raise ContractError(
            f"this server has TensorRT {here}, version {number} of {folder.name} was built with {compiler.version}",
            hint=f"take images of one release (NGC_RELEASE), and build again: {command('builder', 'build')}",
        )
