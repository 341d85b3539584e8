"""From what the user names (files, folders, patterns, addresses, standard input) to input tensors, one at a time."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

import requests

from services import __version__
from services.core.card import Preprocessing
from services.core.errors import ImageError
from services.core.hints import isolated
from services.images.decode import MAX_FILE_BYTES
from services.images.find import EXTENSIONS, images_in
from services.images.preprocess import InputArray, input_from_file

STANDARD_INPUT = "-"
DOWNLOAD_SECONDS = 60.0
_TIMEOUTS = (5.0, 20.0)
_USER_AGENT = f"tensorrt-to-triton/{__version__}"
"""Some hosts of photographs refuse the default one of a library."""
_WILDCARDS = frozenset("*?[")

Item = TypeVar("Item")


class Picture(NamedTuple):
    """A named input, without the batch dimension."""

    name: str
    tensor: InputArray


def expand_all(arguments: Iterable[str], on_error: Callable[[ImageError], None]) -> list[str]:
    """The names of all pictures that the arguments stand for; ``on_error`` is told of each argument that stands for none."""
    names: list[str] = []
    for argument in arguments:
        try:
            names += expand(argument)
        except ImageError as error:
            on_error(error)
    return names


def expand(argument: str) -> list[str]:
    """The pictures that an argument stands for: those of a folder or pattern, else the argument itself.

    Raises:
        ImageError: it is empty, the folder or pattern holds none, or there is no such file.
    """
    if not argument:
        raise ImageError("found an empty name, expected a picture (is a variable of the command unset?)")
    if argument == STANDARD_INPUT or _is_address(argument):
        return [argument]
    path = Path(argument)
    try:
        found = [] if path.is_file() else images_in(path)
        exists, is_folder = path.exists(), path.is_dir()
    except OSError as error:
        raise ImageError(f"{argument}: {error.strerror or error}") from None
    if found:
        return [str(picture) for picture in found]
    if is_folder:
        raise ImageError(f"{argument}: found a folder without pictures, expected files {' '.join(sorted(EXTENSIONS))}")
    if exists:
        return [argument]
    missing = "no picture matches this pattern" if _WILDCARDS & set(argument) else "no such file"
    raise ImageError(f"{argument}: {missing}{'; this container sees only what is mounted in it' if isolated() else ''}")


def read_pictures(
    names: Iterable[str], preprocessing: Preprocessing, on_error: Callable[[ImageError], None], *, max_pixels: int
) -> Iterator[Picture]:
    """Read one picture after the other, so that any number of them needs the memory of one.

    Args:
        names: files, addresses, or ``-``.
        preprocessing: the card's description of the input.
        on_error: told of each one that cannot be read; the others go on.
        max_pixels: larger pictures are not decoded.
    """
    for name in names:
        try:
            yield Picture(name, input_from_file(_source(name), preprocessing, _called(name), max_pixels=max_pixels))
        except ImageError as error:
            on_error(error)


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


def download(address: str) -> bytes:
    """Fetch a picture, bounded in size and time.

    Raises:
        ImageError: the host cannot be reached, refuses, is too slow, or sends too much.
    """
    deadline = time.monotonic() + DOWNLOAD_SECONDS
    data = bytearray()
    try:
        with requests.get(address, stream=True, timeout=_TIMEOUTS, headers={"User-Agent": _USER_AGENT}) as response:
            if response.status_code != requests.codes.ok:
                raise ImageError(f"{address}: found HTTP {response.status_code} {response.reason}, expected a picture")
            for chunk in response.iter_content(1 << 16):
                data += chunk
                if len(data) > MAX_FILE_BYTES:
                    break  # the decoder says so
                if time.monotonic() > deadline:
                    raise ImageError(f"{address}: not complete after {DOWNLOAD_SECONDS:g} s")
    except (requests.RequestException, ValueError) as error:
        raise ImageError(f"{address}: {_reason(error)}") from None
    return bytes(data)


def _source(name: str) -> Path | bytes:
    if name == STANDARD_INPUT:
        return sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
    return download(name) if _is_address(name) else Path(name)


def _called(name: str) -> str:
    return "standard input" if name == STANDARD_INPUT else name


def _is_address(argument: str) -> bool:
    return argument.lower().startswith(("http://", "https://"))


def _reason(error: Exception) -> str:
    """Why a download failed; the library's own texts show Python objects."""
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not trusted here"
    if isinstance(error, requests.exceptions.Timeout):
        return "the host does not answer in time"
    if isinstance(error, requests.exceptions.ConnectionError):
        return "the host cannot be reached"
    return f"cannot be fetched: {error}"
