"""What a program may hand over as a picture: a path, an address, a file's bytes, a Pillow image, an array of pixels."""

import io
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from services.client.download import download, is_address
from services.core.errors import ImageError
from services.core.files import read_regular
from services.images.decode import MAX_FILE_BYTES
from services.images.find import EXTENSIONS, images_in

EMPTY_NAME = "found an empty name, expected a picture"
NO_PICTURES = f"found a folder without pictures, expected files {' '.join(sorted(EXTENSIONS))}"
_LOSSLESS = frozenset({"1", "L", "LA", "I", "I;16", "F", "RGBA"})
"""Modes of Pillow that ``decode`` has its own rules for, and a TIFF file keeps."""

Content: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image | npt.NDArray[Any] | Callable[[], bytes]
"""A path or an http(s) address, what a picture file holds, an image of Pillow, pixels UINT8 ``[height, width, 3]`` (RGB),
or a function that returns what a file holds: called in a thread, in its turn, and may raise OSError or ImageError."""


Item = TypeVar("Item")


class Named(NamedTuple):
    """A picture with the name that its result is to have."""

    name: str
    content: Content


Pictures: TypeAlias = Content | Named | Iterable[Content | Named]


def named(pictures: Pictures) -> Iterator[Named]:
    """Pictures with their names, one at a time; a folder becomes those in it and in the folders below it.

    A path or address is its own name; anything else is called ``picture 1`` and so on, after its place.

    Raises:
        TypeError: something is none of what a picture may be.
    """
    alone = isinstance(pictures, Named) or (_is_content(pictures) and not (isinstance(pictures, np.ndarray) and pictures.ndim > 3))
    several: Iterable[Any] = [pictures] if alone else pictures  # type: ignore[assignment]
    for place, picture in enumerate(several, 1):
        if isinstance(picture, Named):
            yield picture
        elif isinstance(picture, str | os.PathLike):
            yield from _at(os.fspath(picture))
        elif _is_content(picture):
            yield Named(f"picture {place}", picture)
        else:
            raise TypeError(f"picture {place} is of type {type(picture).__name__}, expected one of {Content}")


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Group items; the last group may be smaller.

    >>> list(batches("abcde", 2))
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    group: list[Item] = []
    for item in items:
        group.append(item)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def is_file(content: Content) -> bool:
    """Whether it stands for a picture file, rather than for pixels."""
    return not isinstance(content, Image.Image | np.ndarray)


def file_of(content: Content) -> bytes:
    """What the picture's file holds; pixels become a file that loses nothing.

    Raises:
        ImageError: it cannot be read, is no picture, or is longer than ``MAX_FILE_BYTES``; the text has no name in it.
    """
    if isinstance(content, np.ndarray):
        return _file_of_array(content)
    if isinstance(content, Image.Image):
        return _file_of_image(content)
    if isinstance(content, bytes | bytearray | memoryview):
        data = bytes(content)
    elif callable(content):
        data = _called(content)
    else:
        name = os.fspath(content)
        data = download(name) if is_address(name) else _read(name)
    if not data:
        raise ImageError("found an empty file, expected a picture")
    if len(data) > MAX_FILE_BYTES:
        raise ImageError(f"found more than {MAX_FILE_BYTES >> 20} MiB, expected a picture file of at most that")
    return data


def _is_content(picture: object) -> bool:
    return isinstance(picture, str | os.PathLike | bytes | bytearray | memoryview | Image.Image | np.ndarray) or callable(picture)


def _at(name: str) -> Iterator[Named]:
    # A name may be too long for Path.is_dir, which raises then.
    is_folder = bool(name) and not is_address(name) and os.path.isdir(name)  # noqa: PTH112
    found = [str(path) for path in images_in(Path(name))] if is_folder else []
    yield from (Named(path, path) for path in found or [name])


def _called(content: Callable[[], bytes]) -> bytes:
    try:
        return content()
    except OSError as error:
        raise ImageError(error.strerror or str(error)) from error


def _read(name: str) -> bytes:
    if not name:
        raise ImageError(EMPTY_NAME)
    path = Path(name)
    try:
        if path.is_dir():
            raise ImageError(NO_PICTURES)
        return read_regular(path, MAX_FILE_BYTES)
    except (OSError, ValueError) as error:
        raise ImageError(getattr(error, "strerror", None) or str(error)) from None


def _file_of_array(pixels: npt.NDArray[Any]) -> bytes:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ImageError(f"found an array {pixels.dtype} of shape {list(pixels.shape)}, expected uint8 [height, width, 3] in RGB")
    return b"P6 %d %d 255\n" % (pixels.shape[1], pixels.shape[0]) + pixels.tobytes()


def _file_of_image(image: Image.Image) -> bytes:
    file = io.BytesIO()
    try:
        upright = ImageOps.exif_transpose(image)
        if upright.mode not in _LOSSLESS:
            upright = upright.convert("RGBA" if upright.has_transparency_data else "RGB")
        upright.save(file, "PPM" if upright.mode == "RGB" else "TIFF")
    except Exception as error:  # Pillow reads an image when it is first used; a damaged file makes it raise almost anything
        raise ImageError(f"found a damaged or unusual picture ({error})") from error
    return file.getvalue()
