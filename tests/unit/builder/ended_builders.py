"""Builders that publish without a pause and are ended by a signal: ``ended_builders.py <repository> <version folder> <signal> <times>``.

One process starts them all by fork, so that fifty cost fifty publishes and not fifty imports. After each end the repository
is looked at as Triton would find it.
"""

import logging
import os
import random
import shutil
import sys
import time
from pathlib import Path

from services.builder.compilers.base import Serving
from services.builder.model_config import ModelConfig
from services.builder.publish import publish
from services.builder.repository import ModelFolder
from services.core import log, stage
from services.core.card import ModelCard
from services.core.published import live_version

REPOSITORY, PARTS = Path(sys.argv[1]), Path(sys.argv[2])
SIGNAL, TIMES = int(sys.argv[3]), int(sys.argv[4])
FOLDER = ModelFolder(REPOSITORY, "tiny")


def publish_for_ever(report: int) -> int:
    card = ModelCard.load(PARTS / "card.json")
    config = ModelConfig(
        name=card.name,
        version=0,
        serving=Serving(backend="python", default_model_filename="model.py"),
        max_batch_size=32,
        input=card.input,
        output=card.output,
        instance_kind="KIND_CPU",
        instance_count=1,
        preferred_batch=(),
        max_queue_delay_us=0,
        max_queue_size=0,
        queue_timeout_us=0,
        gpus=(),
        opt_batch=8,
        cpu_threads=0,
        card=card.model_dump_json(),
    )
    starter = os.getppid()
    while os.getppid() == starter:
        with FOLDER.locked(5), FOLDER.staging() as staging:
            publish(FOLDER, Path(shutil.copytree(PARTS, staging / "fp32")), config, None)
            FOLDER.prune(2)
        os.write(report, b".")
    return 0


def start() -> tuple[int, int]:
    """Fork a builder; its process, and the pipe that it tells its publishes on."""
    reading, writing = os.pipe()
    if child := os.fork():
        os.close(writing)
        return child, reading
    try:
        stage.run(lambda: publish_for_ever(writing), debug=True)
    except SystemExit as end:
        os._exit(int(end.code or 0))
    finally:
        os._exit(99)


def end(child: int, reading: int) -> None:
    ended = 0
    while not ended:  # again every two seconds: Python drops what a signal handler raises while a finaliser runs
        os.kill(child, SIGNAL)
        deadline = time.monotonic() + 2
        while not ended and time.monotonic() < deadline:
            ended, status = os.waitpid(child, os.WNOHANG)
            time.sleep(0.001)
    code = os.waitstatus_to_exitcode(status)
    os.close(reading)
    assert code in (-SIGNAL, 128 + SIGNAL), f"it ended with {code}"


def check() -> None:
    """The config names a version that is whole, and is the config of that version."""
    text = (FOLDER.path / "config.pbtxt").read_text()
    version = FOLDER.path / str(live_version(text))
    assert {path.name: path.read_bytes() for path in version.iterdir() if path.name != "config.pbtxt"} == {
        path.name: path.read_bytes() for path in PARTS.iterdir()
    }
    assert (version / "config.pbtxt").read_text() == text


log.set_up("test")
logging.disable(logging.INFO)
for _ in range(TIMES):
    builder = start()
    assert os.read(builder[1], 1) == b"."
    time.sleep(random.uniform(0, 0.05))  # noqa: S311 - an instant, not a secret
    end(*builder)
    check()
