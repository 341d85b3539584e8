from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.local.stack import Stack

OF_THE_EXPORT = ("MODEL", "CROP", "RESIZE", "ARTIFACTS_DIR")


@pytest.fixture(scope="session")
def settings() -> dict[str, str]:
    """Of every stack; the tier gpu has others."""
    return {}


@pytest.fixture(scope="session")
def lite0(tmp_path_factory: pytest.TempPathFactory, settings: dict[str, str]) -> Iterator[Stack]:
    """efficientnet_lite0 with its real weights, exported, built and served; tests must leave it serving what it served."""
    stack = Stack(tmp_path_factory.mktemp("lite0"), **settings)
    try:
        stack.build()
        stack.serve()
        yield stack
    finally:
        stack.stop()


@pytest.fixture(scope="session")
def tiny_export(tmp_path_factory: pytest.TempPathFactory, settings: dict[str, str]) -> Stack:
    """A tiny classifier of a Python factory, exported: quick to build in any precision, for tests of versions and faults."""
    stack = Stack(tmp_path_factory.mktemp("tiny_export"), MODEL="py:tiny_factory:tiny", CROP="32", RESIZE="32", **settings)
    (stack.folder / "tiny_factory.py").write_text(
        "import torch\n"
        "def tiny():\n"
        "    torch.manual_seed(1)\n"
        "    return torch.nn.Sequential(torch.nn.Conv2d(3, 32, 3, 2, 1), torch.nn.ReLU(), torch.nn.Conv2d(32, 32, 3, 1, 1),\n"
        "                               torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(512, 10))\n"
    )
    stack.run("exporter")
    return stack


@pytest.fixture(scope="module")
def tiny_served(tiny_export: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One for all tests of a module, which leave it serving what it served."""
    stack = Stack(tmp_path_factory.mktemp("tiny_served"), **{key: tiny_export.settings[key] for key in OF_THE_EXPORT})
    try:
        stack.run("builder")
        stack.serve()
        yield stack
    finally:
        stack.stop()


@pytest.fixture
def tiny(tiny_export: Stack, tmp_path: Path, settings: dict[str, str]) -> Iterator[Stack]:
    """A repository and a server of its own on the exported tiny classifier."""
    stack = Stack(tmp_path, **{key: tiny_export.settings[key] for key in OF_THE_EXPORT}, **settings)
    try:
        yield stack
    finally:
        stack.stop()
