"""What a stack has published and what it serves, as the repository and the live server tell it."""

import json
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from tests.docker.conftest import ComposeStack, json_lines


def versions(stack: ComposeStack, name: str) -> list[str]:
    return sorted(path.name for path in (stack.repository / name).glob("[0-9]*"))


def live_config(stack: ComposeStack, name: str) -> Any:
    """The ``ModelConfig`` that the server reads."""
    return text_format.Parse((stack.repository / name / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def live_version(stack: ComposeStack, name: str) -> int:
    (version,) = live_config(stack, name).version_policy.specific.versions
    return int(version)


def record(stack: ComposeStack, name: str, version: int) -> Any:
    return json.loads((stack.repository / name / str(version) / "build.json").read_text())


def agreement(stack: ComposeStack, *arguments: str) -> float:
    """Share of the golden set on which the live server and the original model name the same class."""
    output = stack.compose(f"run --rm -T --no-deps client verify --json {' '.join(arguments)}")
    return float(json_lines(output)[-1]["top1_agreement"])


def of_a_file(stack: ComposeStack, name: str, picture: Path) -> tuple[int, int]:
    """The first class of a picture that is sent as it is, as curl would, and the version that says so."""
    request = urllib.request.Request(
        f"{stack.url}/v2/models/{name}_image/infer", picture.read_bytes(), {"Inference-Header-Content-Length": "0"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        body, head = answer.read(), int(answer.headers["Inference-Header-Content-Length"])
    scores, version = json.loads(body[:head])["outputs"]
    assert (scores["name"], version["name"]) == ("scores", "version")
    return int(np.frombuffer(body[head:-8], np.float32).argmax()), int(np.frombuffer(body[-8:], np.int64)[0])
