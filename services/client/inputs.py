"""What the user names on the command line: files, folders, patterns, addresses, standard input."""

import sys
from pathlib import Path

from services.client.download import is_address
from services.client.pictures import EMPTY_NAME, NO_PICTURES, Named
from services.core.errors import ImageError
from services.core.hints import isolated
from services.images.decode import MAX_FILE_BYTES
from services.images.find import images_in

STANDARD_INPUT = "-"
_WILDCARDS = frozenset("*?[")


def expand(argument: str) -> list[str]:
    """The pictures that an argument stands for: those of a folder or pattern, else the argument itself.

    Raises:
        ImageError: it is empty, the folder or pattern holds none, or there is no such file.
    """
    if not argument:
        raise ImageError(f"{EMPTY_NAME} (is a variable of the command unset?)")
    if argument == STANDARD_INPUT or is_address(argument):
        return [argument]
    path = Path(argument)
    try:
        found = [] if path.is_file() else images_in(path)
        exists, is_folder = path.exists(), path.is_dir()
    except OSError as error:
        raise ImageError(error.strerror or str(error)) from None
    if found:
        return [str(picture) for picture in found]
    if is_folder:
        raise ImageError(NO_PICTURES)
    if exists:
        return [argument]
    missing = "no picture matches this pattern" if _WILDCARDS & set(argument) else "no such file"
    raise ImageError(f"{missing}{'; this container sees only what is mounted in it' if isolated() else ''}")


def picture(name: str) -> Named:
    """The picture of a name that ``expand`` gave."""
    return Named(name, _standard_input if name == STANDARD_INPUT else name)


def _standard_input() -> bytes:
    return sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
