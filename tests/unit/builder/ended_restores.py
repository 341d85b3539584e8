"""Restores of two archives in turn that are ended by a signal: ``ended_restores.py <repository> <archive> <archive> <signal> <times>``.

Both hold a version 1 of the same files, but for its config. Of what is not served only one version is kept, so that each
restore has a version to write.
"""

import sys
from itertools import cycle
from pathlib import Path

from services.builder.repository import ModelFolder
from services.builder.restore import restore
from services.core.settings import BuilderSettings
from tests.unit.builder.ending import end_again_and_again, files_of

REPOSITORY, ARCHIVES = Path(sys.argv[1]), cycle(sys.argv[2:4])
SIGNAL, TIMES = int(sys.argv[4]), int(sys.argv[5])
FOLDER = ModelFolder(REPOSITORY, "tiny")
SETTINGS = BuilderSettings.from_env({"MODEL_REPOSITORY_DIR": str(REPOSITORY), "ARTIFACTS_DIR": str(REPOSITORY.parent / "artifacts")})


def restore_once() -> None:
    restore(SETTINGS, next(ARCHIVES), (), None, dry_run=False)
    with FOLDER.locked(5):
        FOLDER.prune(1)


end_again_and_again(FOLDER, restore_once, files_of(FOLDER.path / "1"), SIGNAL, TIMES)
