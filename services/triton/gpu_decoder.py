"""Decoding for ``<model>_image`` on a GPU: common JPEGs, many at a time; whatever else a picture may be is left to the CPU."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from services.core.card import Preprocessing
from services.core.errors import ImageError, ToolError
from services.images import jpeg
from services.images.decode import opened, orientation, turns
from services.images.encoded import picture_bytes
from services.images.preprocess import InputArray, crop_region, input_from_pixels
from services.triton.dali import MOST_FILES, Dali, Part, in_short
from services.triton.decoder import Decoder, Picture

MOST_PIXELS = 1 << 25
"""Of one run, so that the memory it takes on the GPU is bounded (100 MB as RGB, some times that in all); a larger picture is the CPU's."""


class Task(NamedTuple):
    """A picture for DALI: its place among the pictures asked for, its pixels in all, and whether its sides are to be swapped."""

    place: int
    part: Part
    pixels: int
    transposed: bool


class GpuDecoder:
    """As ``Decoder``, which does what DALI does not; a JPEG that DALI refuses fails nobody, as its whole run is decoded there.

    Args:
        cpu: closed with this one; what it refuses is refused here, too.
        dali: as well.
        warn: is told of what DALI refused.
    """

    def __init__(self, cpu: Decoder, dali: Dali, warn: Callable[[str], None]) -> None:
        self._cpu, self._dali, self._warn = cpu, dali, warn

    def close(self) -> None:
        """End the threads, and free the GPU."""
        self._cpu.close()
        self._dali.close()

    def decode(self, pictures: Sequence[Picture], preprocessing: Preprocessing) -> list[InputArray | ImageError]:
        """One input per picture, in the order given, or why there is none."""
        tasks = [self._task(place, picture, preprocessing) for place, picture in enumerate(pictures)]
        found: dict[int, InputArray | ImageError] = {}
        for run in in_runs(task for task in tasks if task):
            found.update(self._run(run, preprocessing))
        rest = [place for place in range(len(pictures)) if place not in found]
        found.update(zip(rest, self._cpu.decode([pictures[place] for place in rest], preprocessing), strict=True))
        return [found[place] for place in range(len(pictures))]

    def _task(self, place: int, picture: Picture, preprocessing: Preprocessing) -> Task | None:
        """What DALI is to do; None where it is not asked, as the CPU gives the better answer: also an error, in its words."""
        most = self._cpu.max_bytes
        try:
            file = picture_bytes(picture.content, picture.name, max_bytes=most)
            with opened(file, picture.name, max_pixels=self._cpu.max_pixels, max_bytes=most) as image:
                too_small = min(image.size) < preprocessing.resize  # to be enlarged, in which decoders differ most
                if too_small or image.width * image.height > MOST_PIXELS or not jpeg.is_common(file, image):
                    return None
                return _seen(place, file, image.size, orientation(image), preprocessing)
        except ImageError:
            return None

    def _run(self, run: Sequence[Task], preprocessing: Preprocessing) -> dict[int, InputArray | ImageError]:
        try:
            crops = self._dali.run([task.part for task in run], preprocessing.crop, preprocessing.interpolation)
        except Exception as error:  # DALI names no kinds
            self._warn(f"decoding {len(run)} pictures on the CPU, as DALI refuses them together: {in_short(error)}")
            return {}
        upright = (np.swapaxes(crop, 0, 1) if task.transposed else crop for task, crop in zip(run, crops, strict=True))
        return {task.place: input_from_pixels(crop, preprocessing) for task, crop in zip(run, upright, strict=True)}


def decoder(asked: str, cpu: Decoder, device: int | None, threads: int, warn: Callable[[str], None]) -> Decoder | GpuDecoder:
    """The decoder that the parameter ``decoder`` of the config asks for.

    Args:
        asked: cpu, gpu, or auto: gpu where that is to be had, else cpu and a warning.
        cpu: the one that decodes on the CPU.
        device: as for ``Dali``.
        threads: as for ``Dali``.
        warn: for the server's log.

    Raises:
        ToolError: gpu is asked for, and not to be had.
    """
    if asked == "cpu":
        return cpu
    try:
        return GpuDecoder(cpu, Dali(device, threads), warn)
    except ToolError as error:
        if asked == "gpu":
            raise
        warn(f"pictures are decoded on the CPU: {error}")
        return cpu


def in_runs(tasks: Iterable[Task]) -> Iterator[list[Task]]:
    """Tasks in their order, as many at a time as the bounds of a run allow."""
    run: list[Task] = []
    for task in tasks:
        if run and (len(run) == MOST_FILES or sum(other.pixels for other in run) + task.pixels > MOST_PIXELS):
            yield run
            run = []
        run.append(task)
    if run:
        yield run


def _seen(place: int, file: bytes, size: tuple[int, int], turn: int, preprocessing: Preprocessing) -> Task | None:
    """What of the upright picture becomes the crop, in the pixels of the file; None where it has a margin."""
    transposed, leftwards, upwards = turns(turn)
    width, height = size[::-1] if transposed else size
    region = crop_region((width, height), preprocessing)
    if region is None:
        return None
    left, top, right, bottom = region
    across = (width - left, width - right) if leftwards else (left, right)
    down = (height - top, height - bottom) if upwards else (top, bottom)
    rows, columns = (across, down) if transposed else (down, across)
    return Task(place, Part(file, (rows[0], columns[0]), (rows[1], columns[1])), width * height, transposed)
