"""Forks of this process that work without a pause and are ended by a signal: what ``ended_*.py`` share.

One process starts them all by fork, so that fifty cost fifty pieces of work and not fifty imports. After each end the
repository is looked at as Triton would find it.
"""

import logging
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

from services.builder.repository import ModelFolder
from services.core import log, stage
from services.core.published import live_version


def end_again_and_again(folder: ModelFolder, work: Callable[[], object], whole: dict[str, bytes], number: int, times: int) -> None:
    """End the one who works; all versions have the files of ``whole``, and the config is that of the version which it names."""
    log.set_up("test")
    logging.disable(logging.INFO)
    for _ in range(times):
        child, reading = _start(work)
        assert os.read(reading, 1) == b"."
        time.sleep(random.uniform(0, 0.05))  # noqa: S311 - an instant, not a secret
        _end(child, reading, number)
        text = (folder.path / "config.pbtxt").read_text()
        assert (folder.path / str(live_version(text)) / "config.pbtxt").read_text() == text
        assert [version for version in folder.numbers() if files_of(folder.path / str(version)) != whole] == []


def files_of(version: Path) -> dict[str, bytes]:
    """Names and contents of a version, without its config."""
    return {path.name: path.read_bytes() for path in version.iterdir() if path.name != "config.pbtxt"}


def _start(work: Callable[[], object]) -> tuple[int, int]:
    """Fork one who works; its process, and the pipe that it tells each piece of work on."""
    reading, writing = os.pipe()
    if child := os.fork():
        os.close(writing)
        return child, reading
    try:
        stage.run(lambda: _work_for_ever(work, writing), debug=True)
    except SystemExit as end:
        os._exit(int(end.code or 0))
    finally:
        os._exit(99)


def _work_for_ever(work: Callable[[], object], report: int) -> int:
    starter = os.getppid()
    while os.getppid() == starter:
        work()
        os.write(report, b".")
    return 0


def _end(child: int, reading: int, number: int) -> None:
    ended = 0
    while not ended:  # again every two seconds: Python drops what a signal handler raises while a finaliser runs
        os.kill(child, number)
        deadline = time.monotonic() + 2
        while not ended and time.monotonic() < deadline:
            ended, status = os.waitpid(child, os.WNOHANG)
            time.sleep(0.001)
    code = os.waitstatus_to_exitcode(status)
    os.close(reading)
    assert code in (-number, 128 + number), f"it ended with {code}"
