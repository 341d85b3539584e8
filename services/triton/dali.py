"""NVIDIA DALI's part in decoding: JPEG files in, the parts of them that are to be seen out, all of one size.

One pipeline does it for every model: how large the parts become, and how, comes with the data. API: DALI's ``fn.decoders.image``,
``fn.resize`` and ``Pipeline.run``.
"""

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from services.core.card import Interpolation
from services.core.errors import ToolError
from services.triton.locked import LockedMemory

MOST_FILES = 64
"""Of one run."""
_TRIED_SIDE = 64
_TRIED_TOLERANCE = 16
"""Of 255; two correct decoders differ by 1 or 2 in so smooth a picture."""


class Part(NamedTuple):
    """A JPEG, and two corners (height, width; in its own pixels) of the part that is to be seen.

    It comes out mirrored where ``end`` lies before ``start``; what EXIF says is not looked at.
    """

    file: bytes
    start: tuple[float, float]
    end: tuple[float, float]


class Dali:
    """A pipeline, made at once and tried.

    Args:
        device: index of the GPU; None for the CPU, where the same pipeline runs without one.
        threads: for what is done on the CPU.

    Raises:
        ToolError: it cannot be had here.
    """

    def __init__(self, device: int | None, threads: int) -> None:
        self._device, self._threads = device, threads
        self._host = None if device is None else LockedMemory(device)
        self._pipeline: Any = None
        self._trial = _trial()
        try:
            apart = self._try()
        except Exception as error:  # an ImportError, whatever loading libraries raises, and DALI's own
            raise ToolError(f"DALI cannot be used here: {in_short(error)}") from error
        if apart > _TRIED_TOLERANCE:
            raise ToolError(f"DALI cannot be used here: its pixels are off by {apart} of 255, expected at most {_TRIED_TOLERANCE}")

    def run(self, parts: Sequence[Part], side: int, interpolation: Interpolation) -> npt.NDArray[np.uint8]:
        """Decode up to ``MOST_FILES``; RGB ``[N, side, side, 3]`` in the host's memory, the caller's own.

        Raises:
            Exception: of DALI's choice, for all of them together; the next run is none the worse.
        """
        try:
            return self._crops(parts, side, interpolation)
        except Exception:
            if not self._is_alive():
                self.close()
            raise

    def close(self) -> None:
        """Give its memory back; a run after that has a new pipeline."""
        self._pipeline = None
        if self._host:
            self._host.close()

    def _is_alive(self) -> bool:
        """Whether the pipeline goes on after an error: that of DALI 2 does, an older one's is of no use then."""
        try:
            return self._try() <= _TRIED_TOLERANCE
        except Exception:
            return False

    def _try(self) -> int:
        """How far, of 255, the pixels of the trial are off."""
        part, expected = self._trial
        # As many files as a run may have: the number in its first run is what DALI gives the decoding hardware of any later one.
        found = self._crops([part] * MOST_FILES, len(expected), "bilinear")
        return int(np.abs(found.astype(int) - expected).max())

    def _crops(self, parts: Sequence[Part], side: int, interpolation: Interpolation) -> npt.NDArray[np.uint8]:
        from nvidia.dali import types

        if self._pipeline is None:
            self._pipeline = _pipeline(self._device, self._threads)
        how = {"bilinear": types.INTERP_LINEAR, "bicubic": types.INTERP_CUBIC}[interpolation]
        (crops,) = self._pipeline.run(
            files=[np.frombuffer(part.file, np.uint8) for part in parts],
            start=np.array([part.start for part in parts], np.float32),
            end=np.array([part.end for part in parts], np.float32),
            size=np.full((len(parts), 2), side, np.float32),
            interpolation=np.full(len(parts), int(how), np.int32),
        )
        made = crops.as_tensor()
        return self._host.copy(made.data_ptr(), tuple(made.shape())) if self._host else np.array(made)


def in_short(error: Exception) -> str:
    """What DALI says in many lines, in one."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:300]}…"


def _trial() -> tuple[Part, npt.NDArray[np.uint8]]:
    """A JPEG that is another in each direction and colour, and the pixels of half its size that are expected of it."""
    ramp = Image.linear_gradient("L").resize((_TRIED_SIDE, _TRIED_SIDE))
    file = io.BytesIO()
    Image.merge("RGB", (ramp, ramp.rotate(90), ramp.rotate(180))).save(file, "JPEG")
    with Image.open(file) as image:
        half = image.resize((_TRIED_SIDE // 2, _TRIED_SIDE // 2), Image.Resampling.BILINEAR)
    return Part(file.getvalue(), (0, 0), (_TRIED_SIDE, _TRIED_SIDE)), np.asarray(half)


def _pipeline(device: int | None, threads: int) -> Any:
    from nvidia.dali import Pipeline, fn, types

    # One run at a time: what is prefetched would be the next request's.
    pipeline = Pipeline(batch_size=MOST_FILES, num_threads=threads, device_id=device, prefetch_queue_depth=1)
    with pipeline:
        files = fn.external_source(name="files", dtype=types.UINT8, ndim=1)
        start, end, size = (fn.external_source(name=name, dtype=types.FLOAT, ndim=1) for name in ("start", "end", "size"))
        interpolation = fn.reinterpret(fn.external_source(name="interpolation", dtype=types.INT32, ndim=0), dtype=types.INTERP_TYPE)
        images = fn.decoders.image(
            files,
            device="cpu" if device is None else "mixed",
            output_type=types.RGB,
            adjust_orientation=False,
            # Of the colours, as the CPU's decoder does it; NVIDIA's decoding hardware cannot.
            jpeg_fancy_upsampling=device is None,
            hw_decoder_load=1.0,
        )
        seen = fn.resize(images, size=size, roi_start=start, roi_end=end, interp_type=interpolation, antialias=True)
        pipeline.set_outputs(seen)
    pipeline.build()
    return pipeline
