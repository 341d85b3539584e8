"""What several tiers need: time limits, a card, a graph of 200 bytes, and a Python of its own for what must happen to a process."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from services.core.card import Golden, ModelCard, Onnx, Preprocessing, Source, Tensor

ROOT = Path(__file__).resolve().parents[1]

# Seconds that one test of a tier may take, its fixtures included; far more than it should.
TIME_LIMITS = {"unit": 60, "contract": 120, "attack": 240, "local": 180, "docker": 600, "gpu": 1800}


# A run in the background is started deaf to SIGINT, and so would be everything that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


def wait_for(condition: Callable[[], bool], seconds: float = 20, *, every: float = 0.01) -> None:
    """Ask again and again, and fail where it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(every)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test its tier's time limit, where it has none of its own."""
    for item in items:
        tier = item.path.relative_to(ROOT / "tests").parts[0]
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TIME_LIMITS[tier]))


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def make_card() -> Callable[..., ModelCard]:
    """A card of a small classifier, with the fields given changed."""

    def make(*, pixels: bool = True, size: int = 8, classes: int = 4, **changes: object) -> ModelCard:
        shape = (-1, size, size, 3) if pixels else (-1, 3, size, size)
        card = ModelCard(
            name="tiny",
            source=Source(model="py:shop.models:tiny", weights="default", weights_sha256="a" * 64),
            onnx=Onnx(sha256="b" * 64, opset=17, producer="pytorch"),
            inputs=(Tensor(name="images" if pixels else "input", dtype="UINT8" if pixels else "FP32", shape=shape),),
            outputs=(Tensor(name="scores", dtype="FP32", shape=(-1, classes)),),
            preprocessing=Preprocessing(
                resize=size + 2,
                crop=size,
                interpolation="bilinear",
                layout="NHWC" if pixels else "NCHW",
                mean=(0.485, 0.456, 0.406),
                std=(0.229, 0.224, 0.225),
                normalised_in_graph=pixels,
            ),
            scores="probabilities",
            labels=classes,
            labels_sha256="e" * 64,
            golden=Golden(count=8, sha256="c" * 64, made_from="2 photographs in 8 views"),
            fingerprint="d" * 64,
            created_by={"onnx": "1.18.0"},
        )
        return card.model_copy(update=changes)

    return make


@pytest.fixture(scope="session")
def make_classifier() -> Callable[..., object]:
    """A graph ``[batch,3,size,size]`` to ``[batch,classes]``: mean of each channel, times 3 x classes weights.

    ``flatten`` is how the pooled features lose their last two dimensions: ``Flatten``, or a Reshape to the shape given;
    ``batch_mean`` subtracts the mean over the batch, so that rows influence one another.
    """
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    def make(
        batch: int | str = "batch",
        *,
        height: int = 8,
        width: int = 8,
        classes: int = 4,
        channels: int = 3,
        flatten: str | list[int] = "Flatten",
        batch_mean: bool = False,
        softmax: bool = False,
        names: tuple[str, str] = ("x", "y"),
        logits: str = "out",
    ) -> object:
        taken, given = names
        weights = 8 * np.random.default_rng(7).standard_normal((channels, classes)).astype(np.float32)
        constants = {"weights": weights, "bias": np.arange(classes, dtype=np.float32)}
        nodes = [helper.make_node("GlobalAveragePool", [taken], ["pooled"])]
        if flatten == "Flatten":
            nodes.append(helper.make_node("Flatten", ["pooled"], ["features"]))
        else:
            constants["shape"] = np.array(flatten, np.int64)
            nodes.append(helper.make_node("Reshape", ["pooled", "shape"], ["features"]))
        if batch_mean:
            nodes.append(helper.make_node("ReduceMean", ["features"], ["mean"], axes=[0], keepdims=1))
            nodes.append(helper.make_node("Sub", ["features", "mean"], ["centred"]))
        last = logits if softmax else given
        nodes.append(helper.make_node("Gemm", ["centred" if batch_mean else "features", "weights", "bias"], [last]))
        if softmax:
            nodes.append(helper.make_node("Softmax", [last], [given], axis=1))
        graph = helper.make_graph(
            nodes,
            "tiny",
            [helper.make_tensor_value_info(taken, TensorProto.FLOAT, [batch, channels, height, width])],
            [helper.make_tensor_value_info(given, TensorProto.FLOAT, [batch, classes])],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        )
        return helper.make_model(graph, producer_name="tests", opset_imports=[helper.make_opsetid("", 17)], ir_version=9)

    return make


@pytest.fixture
def ended(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """How a stage's ``main`` ends in this process, given its arguments: exit code, standard output, standard error."""

    def run(main: Callable[[list[str]], object], *arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(list(arguments))
        assert isinstance(caught.value.code, int)
        return caught.value.code, *capsys.readouterr()

    root = logging.getLogger()
    talk, level = root.handlers[:], root.level
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)
    root.handlers[:] = talk
    root.setLevel(level)
    logging.captureWarnings(capture=False)


@pytest.fixture(scope="session")
def start_python() -> Callable[..., subprocess.Popen[str]]:
    """Start a Python of its own on some code, in the checkout, with pipes to its output."""

    def start(code: str, *arguments: object, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture(scope="session")
def run_python(start_python: Callable[..., subprocess.Popen[str]]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run some code in a Python of its own to its end."""

    def run(code: str, *arguments: object, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        with start_python(code, *arguments, environment=environment) as process:
            out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    return run
