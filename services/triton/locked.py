"""From a GPU to the host, at the speed of the bus between them. API: "Memory Management" of the CUDA Driver API."""

import ctypes
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from services.core.errors import ToolError


class LockedMemory:
    """Memory of the host in pages that stay where they are: a GPU writes them itself, which takes a tenth of the time.

    Args:
        device: index of the GPU, as CUDA counts them; something in this process uses it already.
    """

    def __init__(self, device: int) -> None:
        self._device, self._size = device, 0
        self._address, self._context = ctypes.c_void_p(), ctypes.c_void_p()

    def copy(self, source: int, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
        """What lies at an address of the GPU, as an array of the caller's own.

        Raises:
            OSError: there is no driver.
            ToolError: it refuses.
        """
        size = math.prod(shape)
        self._use_device()
        if size > self._size:
            self._free()
            _call("cuMemHostAlloc", ctypes.byref(self._address), ctypes.c_size_t(size), 0)
            self._size = size
        _call("cuMemcpyDtoH_v2", self._address, ctypes.c_uint64(source), ctypes.c_size_t(size))
        pages = (ctypes.c_uint8 * size).from_address(self._address.value or 0)
        return np.ctypeslib.as_array(pages).reshape(shape).copy()

    def close(self) -> None:
        """Give it back; the next copy takes some anew."""
        if self._size:
            self._use_device()
            self._free()

    def _use_device(self) -> None:
        """In this thread, by the context that all libraries of a process share."""
        if not self._context:
            _call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), self._device)
        _call("cuCtxSetCurrent", self._context)

    def _free(self) -> None:
        if self._size:
            self._size = 0
            _call("cuMemFreeHost", self._address)


def _call(name: str, *arguments: Any) -> None:
    if code := getattr(ctypes.CDLL("libcuda.so.1"), name)(*arguments):
        raise ToolError(f"CUDA's driver says {code} to {name}")
