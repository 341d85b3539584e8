"""What keeps a published model from being served, seen before the server starts."""

from collections.abc import Mapping
from pathlib import Path

from services.core.errors import ContractError
from services.core.hints import command
from services.core.names import image_name
from services.core.proven import proven
from services.core.published import CONFIG, live_version


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
    try:
        record, _ = proven(folder / str(number))
    except ContractError as error:
        raise ContractError(str(error), hint=f"serve a good version: {command('builder', 'rollback')}") from None
    here, compiler = environ.get("TRT_VERSION", "").partition("+")[0].partition("-")[0], record.compiler
    if here and compiler.name == "tensorrt" and compiler.version != here:
        raise ContractError(
            f"this server has TensorRT {here}, version {number} of {folder.name} was built with {compiler.version}",
            hint=f"take images of one release (NGC_RELEASE), and build again: {command('builder', 'build')}",
        )
