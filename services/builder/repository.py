"""Triton's model repository: versions, publishing by one rename, rollback.

``<repository>/<name>/config.pbtxt`` names the one version that is served, so replacing that file is the moment at which a
publish or a rollback happens; whenever a process is killed, the folder holds a config and the version it names.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.builder.image_folder import ImageFolder
from services.builder.model_config import ModelConfig, numbered
from services.core.card import ModelCard
from services.core.errors import ContractError, RepositoryError
from services.core.files import lock, remove_stale, remove_tree, sync_tree, write_atomically, writing
from services.core.hints import command
from services.core.proven import proven
from services.core.published import CARD, CONFIG, RECORD, live_version
from services.core.record import BuildRecord

log = logging.getLogger(__name__)

_STAGING = ".staging-"


def plain_files(folder: Path) -> list[Path]:
    """The files below a folder, without what is hidden (locks, staging folders) and what Python compiles beside its modules."""

    def plain(path: Path) -> bool:
        return not any(part.startswith(".") or part == "__pycache__" for part in path.relative_to(folder).parts)

    return sorted(path for path in folder.rglob("*") if plain(path) and path.is_file())


@dataclass(frozen=True)
class Version:
    """A published version."""

    number: int
    record: BuildRecord
    live: bool


class ModelFolder:
    """One model's folder in the repository. Everything that writes needs ``locked()`` around it."""

    def __init__(self, repository: Path, name: str) -> None:
        self.path = repository / name
        self.image = ImageFolder(repository, name)
        self._config = self.path / CONFIG

    @contextmanager
    def locked(self, wait_seconds: float) -> Iterator[None]:
        """Keep other builders of this model out, and clear what a killed one left."""

        def waiting(holder: str) -> None:
            log.info("another builder works on %s (%s); waiting up to %.0f s", self.path.name, holder, wait_seconds)

        with lock(self.path / ".lock", wait_seconds=wait_seconds, on_wait=waiting):
            with writing(self.path):
                remove_stale(self.path, [f"{_STAGING}*", ".*.part"])
            yield

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A folder on the repository's file system to build a version in; it is gone afterwards unless published."""
        folder = self.path / f"{_STAGING}{os.getpid()}"
        with writing(self.path):
            folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            if folder.exists():
                remove_tree(folder)

    def live(self) -> int | None:
        """Number of the version that is served, or None where nothing is published."""
        try:
            return live_version(self._config.read_text(encoding="utf-8", errors="replace"))
        except FileNotFoundError:
            return None

    def record(self, number: int) -> BuildRecord:
        """The build record of a version.

        Raises:
            ContractError: it is missing or damaged.
        """
        return BuildRecord.load(self.path / str(number) / RECORD)

    def intact(self, number: int) -> BuildRecord | None:
        """The record of a version whose files are those that were proven; None where anything is missing or damaged."""
        try:
            return self.proven(number)
        except ContractError:
            return None

    def proven(self, number: int) -> BuildRecord:
        """The record of a version whose files are those that were proven.

        Raises:
            ContractError: anything is missing or damaged.
        """
        return proven(self.path / str(number))[0]

    def versions(self) -> list[Version]:
        """All published versions, oldest first; a damaged one is passed over with a warning."""
        live = self.live()
        found = []
        for number in self.numbers():
            try:
                found.append(Version(number, self.record(number), number == live))
            except ContractError as error:
                log.warning("version %d is passed over: %s", number, error)
        return found

    def numbers(self) -> list[int]:
        """Numbers of all versions that are there, whole or not, oldest first."""
        return sorted(int(path.name) for path in self.path.glob("[0-9]*") if path.name.isdecimal() and path.is_dir())

    def newest(self) -> int:
        """Number of the version that was built last, 0 where there is none."""
        return max(self.numbers(), default=0)

    def add(self, staged: Path, config: ModelConfig) -> int:
        """Move a staged version in under the next number; it is not served yet."""
        number = self.newest() + 1
        (staged / CONFIG).write_text(numbered(config, number).to_text())
        self.put(staged, number)
        return number

    def put(self, staged: Path, number: int) -> None:
        """Move a staged version in, its config included, under a number that is free; it is not served yet."""
        sync_tree(staged)
        staged.rename(self.path / str(number))

    def serve(self, number: int) -> None:
        """Make a version the served one, with the config it was published with."""
        config = self._version_file(number, CONFIG).read_bytes()
        self.image.demand_own()
        write_atomically(self.path / CARD, self._version_file(number, CARD).read_bytes())
        write_atomically(self._config, config)  # this is the moment
        self.image.serve(self.path / str(number))

    def unserve(self) -> None:
        """Take the model out of service."""
        with writing(self.path):
            self._config.unlink(missing_ok=True)
        self.image.unserve()

    def remove(self, number: int) -> None:
        """Delete a version that is not served; its folder is taken out of Triton's sight first."""
        gone = self.path / f"{_STAGING}removed-{number}"
        (self.path / str(number)).rename(gone)
        remove_tree(gone)

    def prune(self, keep: int) -> None:
        """Delete all but the served version and the newest others, ``keep`` in all."""
        live = self.live()
        others = [number for number in self.numbers() if number != live]
        for number in others[: max(0, len(others) - (keep - 1))]:
            log.info("version %d is removed (KEEP_VERSIONS=%d)", number, keep)
            self.remove(number)

    def card(self, number: int) -> ModelCard:
        """The card that a version was built from."""
        return ModelCard.load(self._version_file(number, CARD))

    def _version_file(self, number: int, name: str) -> Path:
        path = self.path / str(number) / name
        if not path.is_file():
            have = ", ".join(map(str, self.numbers())) or "none"
            raise RepositoryError(
                f"there is no {path}; versions of {self.path.name}: {have}", hint=f"{command('builder', 'list')} shows what can be served"
            )
        return path
