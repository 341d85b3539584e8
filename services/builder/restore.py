"""What a backup holds comes back; nothing that is published is overwritten, and what is served changes by the usual one rename."""

import logging
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfileobj
from typing import Any, BinaryIO

from services.builder.archive import ARTIFACTS, REPOSITORY, WEIGHTS, Archive, Entry
from services.builder.backup import DOWNLOADS, STDIO, locked_export
from services.builder.model_config import renumbered
from services.builder.publish import ensure_served, switch
from services.builder.repository import ModelFolder, plain_files
from services.builder.server import Server
from services.core.errors import ContractError, SettingsError
from services.core.files import replacing, sha256_of, writing
from services.core.published import CARD, CONFIG, RECORD
from services.core.record import BuildRecord
from services.core.settings import BuilderSettings
from services.core.stage import progress

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Step:
    """A version of the archive and its number in the repository; ``new`` where it is not there yet."""

    archived: int
    number: int
    new: bool

    def __str__(self) -> str:
        if self.number == self.archived:
            return f"version {self.number} is {'new here' if self.new else 'there already'}"
        return f"version {self.archived} {'becomes' if self.new else 'is there already, as'} {self.number}; another has its number here"


def restore(settings: BuilderSettings, source: str, models: tuple[str, ...], server: Server | None, *, dry_run: bool) -> dict[str, Any]:
    """Bring back models, their exports and, where all models are asked for, downloaded weights.

    Args:
        settings: where repository and artifacts are.
        source: the file; "-" is standard input.
        models: those to bring back; all where none is named.
        server: where one answers, it loads what was live, and is asked for the golden set.
        dry_run: check the file, say what would happen, and change nothing.

    Raises:
        ContractError: the file is damaged, or no backup; nothing has changed.
        SettingsError: it does not hold a model that is named.
        StackError: the server did not take a version; what was served before is served again, and what is new of that model is gone.
    """
    with _input(source, settings.model_repository_dir) as file:
        name = "standard input" if source == STDIO else source
        with progress(f"{name} is checked"):
            archive = Archive(file, name)
        if missing := sorted(set(models) - set(archive.manifest.models)):
            held = ", ".join(archive.manifest.models)
            raise SettingsError(f"{name} holds no model {', '.join(missing)}; it holds {held}", hint="name one of these with --model")
        done = {model: _restore_model(archive, settings, model, server, dry_run=dry_run) for model in models or archive.manifest.models}
        exports = [model for model in archive.manifest.exports() if not models or model in models]
        if not dry_run:
            for model in exports:
                _restore_export(archive, settings, model)
            if not models:
                _write_missing(archive, WEIGHTS, settings.artifacts_dir / DOWNLOADS)
    return {"file": source, "dry_run": dry_run, "models": done, "exports": exports}


@contextmanager
def _input(source: str, folder: Path) -> Iterator[BinaryIO]:
    """The file; a pipe is read to its end first, for its last bytes say whether the first ones may be believed."""
    if source == STDIO:
        if sys.stdin.isatty():
            raise SettingsError("standard input is this terminal", hint="name a file, or send one in: … restore - < backup.tar")
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            spool = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed below
        with spool:
            with writing(folder):
                copyfileobj(sys.stdin.buffer, spool)
            yield spool
        return
    try:
        file = Path(source).open("rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise SettingsError(f"cannot read {source}: {error.strerror}", hint="name a file that backup wrote") from None
    with file:
        yield file


def _restore_model(archive: Archive, settings: BuilderSettings, name: str, server: Server | None, *, dry_run: bool) -> dict[str, Any]:
    folder = ModelFolder(settings.model_repository_dir, name)
    if dry_run:
        steps = _plan(archive, folder)
    else:
        with folder.locked(settings.lock_wait_seconds):
            steps = _plan(archive, folder)
            _apply(archive, folder, steps, server)
    numbers = {step.archived: step.number for step in steps}
    live = archive.manifest.models[name]
    for step in steps:
        log.info("%s: %s", name, step)
    if live is None:
        log.info("%s: it was out of service when it was backed up; what is served stays as it is", name)
    else:
        log.info("%s: version %d %s served", name, numbers[live], "would be" if dry_run else "is")
    return {"live": live and numbers[live], "versions": numbers, "new": [step.number for step in steps if step.new]}


def _plan(archive: Archive, folder: ModelFolder) -> list[Step]:
    """Each version keeps its number where that is free, and takes the next free one where another version has it."""
    steps, taken = [], set(folder.numbers())
    for archived in archive.manifest.versions(folder.path.name):
        there = next((number for number in folder.numbers() if _is_same(archive, folder, archived, number)), None)
        number = there or (archived if archived not in taken else max(taken) + 1)
        taken.add(number)
        steps.append(Step(archived, number, new=there is None))
    return steps


def _is_same(archive: Archive, folder: ModelFolder, archived: int, number: int) -> bool:
    """Whether a version is that of the archive, file by file; of the config all but the number."""
    version, prefix = folder.path / str(number), f"{REPOSITORY}/{folder.path.name}/{archived}"
    wanted = archive.manifest.below(prefix)
    found = {str(path.relative_to(version)): path for path in plain_files(version)}
    if wanted.keys() != found.keys() or CONFIG not in wanted:
        return False
    try:
        config = renumbered(found.pop(CONFIG).read_text(), number)
    except (ContractError, UnicodeDecodeError):
        return False
    return config == renumbered(archive.text(f"{prefix}/{CONFIG}"), number) and _holds(found, wanted)


def _holds(found: dict[str, Path], wanted: dict[str, Entry]) -> bool:
    return all(path.stat().st_size == wanted[name].size and sha256_of(path) == wanted[name].sha256 for name, path in found.items())


def _apply(archive: Archive, folder: ModelFolder, steps: list[Step], server: Server | None) -> None:
    live = archive.manifest.models[folder.path.name]
    new = [step for step in steps if step.new]
    try:
        for step in new:
            _put(archive, folder, step)
        if live is not None:
            _serve(folder, next(step.number for step in steps if step.archived == live), server)
    except BaseException:  # also Ctrl-C: as with a publish, an unproven version must not stay
        for number in {step.number for step in new} & {*folder.numbers()} - {_live(folder)}:
            folder.remove(number)
        raise


def _put(archive: Archive, folder: ModelFolder, step: Step) -> None:
    """A version by staging folder and rename; nothing refers to it yet."""
    prefix = f"{REPOSITORY}/{folder.path.name}/{step.archived}"
    with folder.staging() as staging, progress(f"{folder.path.name}: version {step.number} is written"):
        staged = staging / "restored"
        for name, entry in archive.manifest.below(prefix).items():
            _write(archive, entry, staged / name)
        BuildRecord.load(staged / RECORD)
        if step.number != step.archived:
            (staged / CONFIG).write_text(renumbered(archive.text(f"{prefix}/{CONFIG}"), step.number))
        folder.put(staged, step.number)


def _serve(folder: ModelFolder, number: int, server: Server | None) -> None:
    live = _live(folder)
    if live is None:
        folder.unserve()  # a damaged config, too, is replaced
    if live == number:
        ensure_served(folder, number, server)
    else:
        switch(folder, number, server)


def _live(folder: ModelFolder) -> int | None:
    try:
        return folder.live()
    except (ContractError, UnicodeDecodeError) as error:
        log.warning("the %s of %s is damaged: %s", CONFIG, folder.path, error)
        return None


def _restore_export(archive: Archive, settings: BuilderSettings, name: str) -> None:
    """As the exporter writes: without a card there is no export, and the card comes last."""
    folder, wanted = settings.artifacts_dir / name, archive.manifest.below(f"{ARTIFACTS}/{name}")
    with locked_export(folder, settings):
        found = {file: folder / file for file in wanted}
        if all(path.is_file() for path in found.values()) and _holds(found, wanted):
            return
        with writing(folder), progress(f"the export of {name} is written"):
            (folder / CARD).unlink(missing_ok=True)
            for file in sorted(wanted, key=lambda file: file == CARD):
                _write(archive, wanted[file], folder / file)


def _write_missing(archive: Archive, prefix: str, folder: Path) -> None:
    for name, entry in archive.manifest.below(prefix).items():
        if not (folder / name).exists():
            _write(archive, entry, folder / name)


def _write(archive: Archive, entry: Entry, path: Path) -> None:
    with replacing(path) as file:
        file.writelines(archive.chunks(entry))
