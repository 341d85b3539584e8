"""Decoding for ``<model>_image``: many pictures at once, each with its own result."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from services.core.card import Preprocessing
from services.core.errors import ImageError
from services.images.encoded import picture_bytes
from services.images.preprocess import InputArray, input_from_file


class Picture(NamedTuple):
    """A picture as ``picture_bytes`` takes it, and what to call it in an error."""

    name: str
    content: bytes


class Decoder:
    """Decodes in threads; the decoders let go of Python's lock while they work.

    Args:
        workers: how many threads.
        max_pixels: larger pictures are refused before they are unpacked.
        max_bytes: longer files are refused before they are looked at.
    """

    def __init__(self, workers: int, max_pixels: int, max_bytes: int) -> None:
        self.max_pixels, self.max_bytes = max_pixels, max_bytes
        self._pool = ThreadPoolExecutor(workers, "decode")

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(cancel_futures=True)

    def decode(self, pictures: Sequence[Picture], preprocessing: Preprocessing) -> list[InputArray | ImageError]:
        """One input per picture, in the order given, or why there is none."""

        def one(picture: Picture) -> InputArray | ImageError:
            try:
                file = picture_bytes(picture.content, picture.name, max_bytes=self.max_bytes)
                return input_from_file(file, preprocessing, picture.name, max_pixels=self.max_pixels, max_bytes=self.max_bytes)
            except ImageError as error:
                return error

        return [one(pictures[0])] if len(pictures) == 1 else list(self._pool.map(one, pictures))
