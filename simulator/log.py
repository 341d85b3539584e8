"""trtexec's log: ``[month/day/year-time] [I] text``; information on stdout, warnings and errors on stderr.

Format: github.com/NVIDIA/TensorRT samples/common/logging.h.
"""

import sys
import time

verbose = False


def _write(severity: str, text: str) -> None:
    stream = sys.stderr if severity in "EW" else sys.stdout
    stamp = time.strftime("[%m/%d/%Y-%H:%M:%S]")
    print(f"{stamp} [{severity}] {text}", file=stream, flush=True)


def info(text: str = "") -> None:
    """A line of information."""
    _write("I", text)


def warning(text: str) -> None:
    """A warning."""
    _write("W", text)


def error(text: str) -> None:
    """An error of trtexec itself."""
    _write("E", text)


def library_error(text: str) -> None:
    """An error of the TensorRT library below trtexec."""
    _write("E", f"[TRT] {text}")


def library_warning(text: str) -> None:
    """A warning of the TensorRT library below trtexec."""
    _write("W", f"[TRT] {text}")


def library_info(text: str) -> None:
    """Information of the TensorRT library below trtexec."""
    _write("I", f"[TRT] {text}")


def detail(text: str) -> None:
    """A line that only ``--verbose`` shows."""
    if verbose:
        _write("V", text)


def frame(result: str, version: tuple[int, int, int, int], argv: list[str]) -> None:
    """The line around a run: ``&&&& RUNNING TensorRT.trtexec [TensorRT v110100] [b106] # trtexec --onnx=...``."""
    number = version[0] * 10000 + version[1] * 100 + version[2]
    print(f"&&&& {result} TensorRT.trtexec [TensorRT v{number}] [b{version[3]}] # {' '.join(argv)}", flush=True)  # noqa: T201
