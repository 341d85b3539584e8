"""The golden set: real inputs, and what the original FP32 model says of them."""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from services.core.errors import ContractError
from services.core.files import open_regular
from services.numerics.dtypes import NUMPY

if TYPE_CHECKING:  # the card needs pydantic, and not every image of this room has it
    from services.core.card import ModelCard


class Golden(NamedTuple):
    """Inputs as the graph takes them, UINT8 ``[N,H,W,3]`` or FP32 ``[N,3,H,W]``, and FP32 scores ``[N,classes]``."""

    inputs: npt.NDArray[Any]
    scores: npt.NDArray[np.float32]

    def batches(self, size: int) -> Iterator["Golden"]:
        """The rows in their order, at most ``size`` at a time."""
        for start in range(0, len(self.inputs), size):
            yield Golden(np.ascontiguousarray(self.inputs[start : start + size]), self.scores[start : start + size])


def load_golden(path: Path, hint: str = "run the exporter and the builder again with --force") -> Golden:
    """Read ``golden.npz``.

    Raises:
        ContractError: it is missing, damaged, empty, or holds fewer scores than inputs.
    """
    try:
        with open_regular(path) as file, np.load(file, allow_pickle=False) as arrays:
            golden = Golden(arrays["inputs"], arrays["scores"])
    except OSError as error:
        raise ContractError(f"cannot read {path}: {error.strerror or error}", hint=hint) from None
    except (ValueError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        raise ContractError(f"{path} is not a golden set: {error}", hint=hint) from None
    rows = golden.inputs.shape[:1]
    if rows in ((), (0,)) or golden.scores.ndim != 2 or golden.scores.shape[:1] != rows or golden.scores.dtype != np.float32:
        found = f"inputs {list(golden.inputs.shape)}, scores {golden.scores.dtype} {list(golden.scores.shape)}"
        raise ContractError(f"{path} is not a golden set: {found}, expected one row of scores per input, float32", hint=hint)
    return golden


def golden_of(path: Path, card: "ModelCard", hint: str) -> Golden:
    """Read the golden set of a model, and hold it against the card.

    Raises:
        ContractError: it is missing, damaged, or belongs to another model.
    """
    golden = load_golden(path, hint)
    expected = (card.input.shape[1:], card.output.shape[1:], NUMPY[card.input.dtype])
    if (golden.inputs.shape[1:], golden.scores.shape[1:], golden.inputs.dtype) != expected:
        sizes = f"inputs {golden.inputs.dtype} {golden.inputs.shape}, scores {golden.scores.shape}"
        wanted = f"inputs {card.input.dtype} {card.input.shape}, scores {card.output.shape}"
        raise ContractError(f"{path} holds {sizes}; the model's card says {wanted}", hint=hint)
    return golden
