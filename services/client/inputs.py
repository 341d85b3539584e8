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
from services.images.decode import MAX_FILE_BYTES
from services.images.find import EXTENSIONS, images_in
from services.images.preprocess import InputArray, input_from_file

STANDARD_INPUT = "-"
DOWNLOAD_SECONDS = 60.0
_TIMEOUTS = (5.0, 20.0)
_USER_AGENT = f"tensorrt-to-triton/{__version__}"
"""Some hosts of photographs refuse the default one of a library."""

Item = TypeVar("Item")


class Picture(NamedTuple):
    """A named input, without the batch dimension."""

    name: str
    tensor: InputArray


def read_pictures(arguments: Iterable[str], preprocessing: Preprocessing, on_error: Callable[[ImageError], None]) -> Iterator[Picture]:
    """Read one picture after the other, so that any number of them needs the memory of one.

    Args:
        arguments: what the user named.
        preprocessing: the card's description of the input.
        on_error: told of each one that cannot be read; the others go on.
    """
    for argument in arguments:
        try:
            names = expand(argument)
        except ImageError as error:
            on_error(error)
            continue
        for name in names:
            try:
                yield Picture(name, input_from_file(_source(name), preprocessing, _called(name)))
            except ImageError as error:
                on_error(error)


def expand(argument: str) -> list[str]:
    """The pictures that an argument names: those of a folder or pattern, else the argument itself.

    Raises:
        ImageError: the folder or pattern holds none, or there is no such file.
    """
    path = Path(argument)
    if argument == STANDARD_INPUT or _is_address(argument) or path.is_file():
        return [argument]
    found = [str(picture) for picture in images_in(path)]
    if not found and path.is_dir():
        raise ImageError(f"{argument}: found a folder without pictures, expected files {' '.join(sorted(EXTENSIONS))}")
    if not found and not path.exists():
        raise ImageError(f"{argument}: no such file, and no picture matches it as a pattern")
    return found or [argument]


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
