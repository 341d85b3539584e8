"""All that is published and exported into one file, while the server goes on serving."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import services
from services.builder.archive import ARTIFACTS, REPOSITORY, WEIGHTS, Manifest, Writer
from services.builder.export import read_export
from services.builder.repository import ModelFolder, plain_files
from services.core.errors import ContractError, RepositoryError, SettingsError
from services.core.files import lock, replacing
from services.core.hints import command
from services.core.names import by_themselves
from services.core.published import CARD, CONFIG, GOLDEN, LABELS
from services.core.settings import BuilderSettings
from services.core.stage import progress

log = logging.getLogger(__name__)

DOWNLOADS = ".torch"  # TORCH_HOME of every launcher
_EXPORT = ("model.onnx", GOLDEN, LABELS, CARD)
STDIO = "-"


def backup(settings: BuilderSettings, target: str, *, with_weights: bool) -> dict[str, Any]:
    """Write every intact version of every model, and every export, into ``target``; "-" is standard output.

    Args:
        settings: where repository and artifacts are.
        target: the file; it appears when it is whole.
        with_weights: also what the exporter downloaded.

    Raises:
        RepositoryError: nothing is published, the file cannot be written, or a builder does not free a model in time.
        ContractError: the live version of a model is damaged.
    """
    models: dict[str, int | None] = {}
    with _output(target) as file:
        writer = Writer(file)
        for name in _folders(settings.model_repository_dir):
            folder = ModelFolder(settings.model_repository_dir, name)
            if not folder.numbers():
                continue
            with folder.locked(settings.lock_wait_seconds), progress(f"{name} is copied"):
                if versions := _intact(folder):
                    models[name] = folder.live()
                    writer.add(_published(folder, versions))
        if not models:
            raise RepositoryError(
                f"nothing is published in {settings.model_repository_dir}", hint=f"run the builder first: {command('builder', 'build')}"
            )
        for name in _folders(settings.artifacts_dir):
            _add_export(writer, settings, name)
        if with_weights:
            home = settings.artifacts_dir / DOWNLOADS
            writer.add((path, f"{WEIGHTS}/{path.relative_to(home)}") for path in plain_files(home) if path.suffix != ".partial")
        created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        manifest = Manifest(release=services.__version__, created=created, models=models, files=tuple(writer.entries))
        size = writer.finish(manifest)
    log.info("%s: %d files, %.1f MB; models: %s", target, len(manifest.files), size / 1e6, ", ".join(models))
    kept = {name: {"live": live, "versions": manifest.versions(name)} for name, live in models.items()}
    return {"file": target, "bytes": size, "models": kept, "exports": manifest.exports()}


@contextmanager
def _output(target: str) -> Iterator[BinaryIO]:
    if target != STDIO:
        with replacing(Path(target)) as file:
            yield file
    elif sys.stdout.isatty():
        raise SettingsError("the backup would go to this terminal", hint="name a file, or send it into one: … backup - > backup.tar")
    else:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()


def _folders(parent: Path) -> list[str]:
    """Models by themselves: those that take pictures as files follow the ones beside them, and trials pass."""
    return by_themselves(path.name for path in parent.glob("[!.]*") if path.is_dir())


def _intact(folder: ModelFolder) -> list[int]:
    """The versions whose engine is the one that was proven; others are told of and left out, for nobody could serve them."""
    good = [number for number in folder.numbers() if folder.intact(number)]
    if folder.live() is not None and folder.live() not in good:
        raise ContractError(
            f"the live version {folder.live()} of {folder.path} is damaged, or was not published by this stack",
            hint=f"serve a good one ({command('builder', 'rollback')}, {command('builder', 'build', '--force')}), or move the folder away",
        )
    if left := sorted({*folder.numbers()} - {*good}):
        log.warning("%s: left out, for they are damaged or not of this stack: %s", folder.path, ", ".join(map(str, left)))
    return good


def _published(folder: ModelFolder, versions: list[int]) -> Iterator[tuple[Path, str]]:
    repository = folder.path.parent
    live = [folder.path / CONFIG, folder.path / CARD] if folder.live() else []
    files = [*live, *plain_files(folder.image.path), *(path for number in versions for path in plain_files(folder.path / str(number)))]
    return ((path, f"{REPOSITORY}/{path.relative_to(repository)}") for path in files)


def _add_export(writer: Writer, settings: BuilderSettings, name: str) -> None:
    folder = settings.artifacts_dir / name
    if not (folder / CARD).is_file():
        return
    with locked_export(folder, settings), progress(f"the export of {name} is copied"):
        try:
            read_export(folder)
        except ContractError as error:
            log.warning("the export of %s is left out: %s", name, error)
            return
        writer.add((folder / file, f"{ARTIFACTS}/{name}/{file}") for file in _EXPORT)


def locked_export(folder: Path, settings: BuilderSettings) -> AbstractContextManager[None]:
    """Keep the exporter of this model out."""

    def waiting(holder: str) -> None:
        log.info("waiting for %s to write %s", holder, folder)

    return lock(folder / ".lock", wait_seconds=settings.lock_wait_seconds, on_wait=waiting)
