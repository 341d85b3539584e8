"""What needs no DALI: the bounds of a run, and what becomes of a server without it; tests/contract has the real one."""

import sys

import pytest

from services.core.errors import ToolError
from services.triton.dali import MOST_FILES, Part
from services.triton.decoder import Decoder
from services.triton.gpu_decoder import MOST_PIXELS, Task, decoder, in_runs


@pytest.mark.parametrize(
    ("pixels", "runs"),
    [
        ([], []),
        ([1], [1]),
        ([1] * (2 * MOST_FILES + 1), [MOST_FILES, MOST_FILES, 1]),
        ([MOST_PIXELS] * 3, [1, 1, 1]),
        ([MOST_PIXELS // 2] * 5, [2, 2, 1]),
        ([MOST_PIXELS - 1, 1, 1, MOST_PIXELS], [2, 1, 1]),
    ],
)
def test_runs_are_bounded_and_in_order(pixels, runs):
    tasks = [Task(place, Part(b"", (0, 0), (1, 1)), number, transposed=False) for place, number in enumerate(pixels)]
    found = list(in_runs(tasks))
    assert [len(run) for run in found] == runs
    assert [task for run in found for task in run] == tasks


@pytest.fixture
def cpu():
    cpu = Decoder(1, 1000, 1000)
    yield cpu
    cpu.close()


@pytest.fixture
def without_dali(monkeypatch):
    for name in ("nvidia", "nvidia.dali"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.usefixtures("without_dali")
def test_without_dali_auto_warns_and_decodes_on_the_cpu(cpu):
    warnings: list[str] = []
    assert decoder("auto", cpu, 0, 1, warnings.append) is cpu
    (words,) = warnings
    assert words.startswith("pictures are decoded on the CPU: DALI cannot be used here: ")
    assert "nvidia" in words


@pytest.mark.usefixtures("without_dali")
def test_without_dali_gpu_refuses(cpu):
    with pytest.raises(ToolError, match=r"DALI cannot be used here: .*nvidia"):
        decoder("gpu", cpu, 0, 1, print)


def test_cpu_does_not_even_ask(cpu):
    assert decoder("cpu", cpu, 0, 1, print) is cpu
