"""A PyTorch network traced to ONNX, with a dynamic batch."""

import contextlib
import io
import linecache
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import onnx
import torch

from services.core.errors import SourceError
from services.core.stage import progress
from services.exporter.graph import BATCH, FLOAT_INPUT, SCORES

log = logging.getLogger(__name__)

# The highest that the TorchScript exporter of every supported torch (2.6 to 2.14) and TensorRT 10 know alike.
OPSET = 17
_PACKAGES = ("site-packages", "dist-packages")


def onnx_from_torch(network: torch.nn.Module, size: int) -> onnx.ModelProto:
    """Trace to ONNX by the TorchScript exporter: the one that works with Debian's torch and with NGC's.

    Returns:
        A graph ``input`` FP32 ``[batch,3,size,size]`` to ``scores`` ``[batch,...]``.

    Raises:
        SourceError: an operator has no ONNX form.
    """
    buffer = io.BytesIO()
    axes = {FLOAT_INPUT: {0: BATCH}, SCORES: {0: BATCH}}
    with progress("PyTorch to ONNX"), warnings.catch_warnings(record=True) as caught, _native_stdout_dropped():
        warnings.simplefilter("always")
        try:
            torch.onnx.export(
                network,
                (torch.zeros(2, 3, size, size),),
                buffer,
                dynamo=False,
                opset_version=OPSET,
                input_names=[FLOAT_INPUT],
                output_names=[SCORES],
                dynamic_axes=axes,
            )
        except Exception as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise SourceError(
                f"the model cannot be exported to ONNX: {reason}",
                hint="replace the operator it names, or export it yourself and use MODEL=onnx:/path/model.onnx",
            ) from error
    _warn_of_frozen_code(caught)
    return onnx.load_from_string(buffer.getvalue())


def _warn_of_frozen_code(caught: list[warnings.WarningMessage]) -> None:
    """Name the lines of the user's own code where tracing turned a tensor into a Python value, once each.

    Packages do so with shapes, as a rule, and the exporter warns of itself; neither tells the user anything.
    """
    places = {(found.filename, found.lineno) for found in caught if issubclass(found.category, torch.jit.TracerWarning)}
    for filename, line in sorted(places):
        if not any(part in _PACKAGES for part in Path(filename).parts):
            code = linecache.getline(filename, line).strip()
            log.warning(
                "%s:%d: `%s` was decided once, while tracing, and is now the same for every picture; if it looks at the values of the "
                "picture, write it with torch.where",
                filename,
                line,
                code,
            )


@contextlib.contextmanager
def _native_stdout_dropped() -> Iterator[None]:
    """Keep torch's native code off stdout, where data goes: when an export fails it prints the whole traced graph there."""
    sys.stdout.flush()
    kept = os.dup(1)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
