"""The two tensor types of the contract, and what numpy, ONNX Runtime and TensorRT call them."""

from typing import Any

import numpy as np

NUMPY: dict[str, np.dtype[Any]] = {"UINT8": np.dtype(np.uint8), "FP32": np.dtype(np.float32)}
"""Triton's name (as the model card has it) to numpy's type."""

_TRITON = {str(dtype): name for name, dtype in NUMPY.items()} | {"tensor(uint8)": "UINT8", "tensor(float)": "FP32"}


def triton_name(dtype: object) -> str:
    """Triton's name of a type that numpy, TensorRT (``uint8``, ``float32``) or ONNX Runtime (``tensor(float)``) names.

    An unknown one is given back as it is, for the error that names it.
    """
    return _TRITON.get(str(dtype), str(dtype))
