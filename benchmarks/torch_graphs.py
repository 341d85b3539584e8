"""The yardstick on a GPU: a network of torchvision in FP16, channels last, with random weights, as one CUDA graph per batch size.

It runs in a process of its own, so that PyTorch's CUDA libraries do not meet those of ONNX Runtime.
"""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from types import TracebackType
from typing import Any, Self

from benchmarks.load import Load, repeat

_WARM_UP = 5
_MEAN, _SPREAD = 117.0, 58.0  # of pixels; which ones makes no difference to the time


class TorchGraphs:
    """PyTorch in a process of its own; leave by ``with``.

    Args:
        name: a classifier of torchvision.
        side: height and width of its input, in pixels.
    """

    def __init__(self, name: str, side: int) -> None:
        self._name, self._side = name, side
        self._process = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._process.shutdown(cancel_futures=True)

    def problem(self) -> str:
        """Why it cannot be measured here; "" where it can."""
        return self._process.submit(_problem, self._name, self._side).result()

    def measure(self, batch: int, seconds: float, *, copied: bool) -> Load:
        """Batches one after the other for ``seconds``, each waited for.

        Args:
            batch: pictures of each.
            seconds: how long.
            copied: pixels come from pinned memory of the host, and scores go back there; else both stay on the GPU.
        """
        return self._process.submit(_measure, self._name, self._side, batch, seconds, copied).result()


def _problem(name: str, side: int) -> str:
    try:
        import torch

        from services.exporter.torchvision_models import torchvision_package

        models = torchvision_package().models
    except ImportError as error:
        return str(error)
    if not torch.cuda.is_available():
        return f"torch {torch.__version__} finds no GPU"
    if name not in models.list_models(module=models):
        return f"torchvision has no classifier {name}"
    try:
        _measure(name, side, batch=1, seconds=0, copied=True)
    except RuntimeError as error:  # of CUDA too
        return f"{name} does not run: {next(iter(str(error).splitlines()), '')}"
    return ""


def _measure(name: str, side: int, batch: int, seconds: float, copied: bool) -> Load:
    graph = _graph(name, side, batch)
    work = graph.from_host if copied else graph.on_gpu
    for _ in range(_WARM_UP):
        work()
    return repeat(work, seconds)


@cache
def _network(name: str) -> Any:
    import torch

    from services.exporter.torchvision_models import torchvision_package

    torch.backends.cudnn.benchmark = True
    return torchvision_package().models.get_model(name, weights=None).eval().half().cuda().to(memory_format=torch.channels_last)


@cache
def _graph(name: str, side: int, batch: int) -> "_Graph":
    return _Graph(_network(name), (batch, side, side, 3))


class _Graph:
    """From pixels UINT8 ``[N,H,W,3]`` to scores FP32 ``[N,classes]``."""

    def __init__(self, network: Any, shape: tuple[int, ...]) -> None:
        import torch

        self._wait = torch.cuda.synchronize
        self._sent = torch.randint(0, 256, shape, dtype=torch.uint8).pin_memory()
        self._pixels = self._sent.cuda()

        def forward() -> Any:
            # Channels stay last in memory.
            return network(self._pixels.permute(0, 3, 1, 2).half().sub_(_MEAN).div_(_SPREAD)).float().softmax(1)

        # Warmed up on a stream of its own, as PyTorch's documentation of CUDA graphs has it.
        side_stream = torch.cuda.Stream()
        side_stream.wait_stream(torch.cuda.current_stream())
        with torch.inference_mode():
            with torch.cuda.stream(side_stream):
                for _ in range(_WARM_UP):
                    forward()
            torch.cuda.current_stream().wait_stream(side_stream)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._scores = forward()
        self._received = torch.empty(tuple(self._scores.shape), dtype=torch.float32).pin_memory()

    def on_gpu(self) -> None:
        """Run once."""
        self._graph.replay()
        self._wait()

    def from_host(self) -> None:
        """Copy, run, and copy back."""
        self._pixels.copy_(self._sent, non_blocking=True)
        self._graph.replay()
        self._received.copy_(self._scores, non_blocking=True)
        self._wait()
