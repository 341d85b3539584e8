"""Builders that publish without a pause and are ended by a signal: ``ended_builders.py <repository> <version folder> <signal> <times>``."""

import shutil
import sys
from pathlib import Path

from services.builder.compilers.base import Serving
from services.builder.model_config import ModelConfig
from services.builder.publish import publish
from services.builder.repository import ModelFolder
from services.core.card import ModelCard
from tests.unit.builder.ending import end_again_and_again, files_of

REPOSITORY, PARTS = Path(sys.argv[1]), Path(sys.argv[2])
SIGNAL, TIMES = int(sys.argv[3]), int(sys.argv[4])
FOLDER = ModelFolder(REPOSITORY, "tiny")


def publish_once() -> None:
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
    with FOLDER.locked(5), FOLDER.staging() as staging:
        publish(FOLDER, Path(shutil.copytree(PARTS, staging / "fp32")), config, None)
        FOLDER.prune(2)


end_again_and_again(FOLDER, publish_once, files_of(PARTS), SIGNAL, TIMES)
