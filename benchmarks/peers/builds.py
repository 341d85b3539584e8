"""The same model published otherwise, by this product's own exporter and builder: as the tutorial has it, and with ``PRECISION=auto``."""

import logging
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.published import Published
from services.core.errors import ToolError

log = logging.getLogger(__name__)

TUTORIAL = {"INPUT": "float32", "PRECISION": "fp32"}
AUTO = {"PRECISION": "auto"}


def build(published: Published, settings: dict[str, str], scratch: Path) -> Published:
    """Export and publish the model of ``published`` once more, below ``scratch``; what is up to date there is taken.

    Raises:
        ToolError: the exporter or the builder fails.
    """
    source = published.card.source
    environment = {
        **os.environ,
        **settings,
        "ACCELERATOR": "onnxruntime",
        "MODEL": source.model,
        "MODEL_NAME": published.folder.name,
        "WEIGHTS": source.weights,
        "ARTIFACTS_DIR": str(scratch / "artifacts"),
        "MODEL_REPOSITORY_DIR": str(scratch / "repository"),
        "TRITON_GRPC_URL": "127.0.0.1:1",  # nobody is there to load it
    }
    for stage in ("exporter", "builder"):
        log.info("%s with %s", stage, " ".join(f"{key}={value}" for key, value in settings.items()))
        done = subprocess.run(
            [sys.executable, "-m", f"services.{stage}"], env=environment, capture_output=True, text=True, errors="replace", check=False
        )
        if done.returncode:
            raise ToolError(f"the {stage} ended with {done.returncode}: {done.stderr[-1000:]}")
    return Published.read(scratch / "repository" / published.folder.name)
