"""What only a TIFF has: a directory in which a few bytes may announce millions of numbers."""

import struct

from services.core.errors import ImageError

MAX_NUMBERS = 1 << 18
"""Of one entry of the directory, as Pillow makes a Python object of each, and a tile: more than 60,000 rows in strips, or 8 gigapixels
in tiles of 256 x 256, have."""
_BEGINNINGS = (b"II*\0", b"MM\0*", b"II\0*", b"MM*\0", b"II+\0", b"MM\0+")
_BIG = ord("+")
_AS_THEY_ARE = (1, 2, 7)  # BYTE, ASCII and UNDEFINED: a layered picture has megabytes of these


def check_directory(data: bytes, name: str) -> None:
    """Refuse a file whose directory has too many numbers; one that is no TIFF, or is cut off, is left to Pillow.

    Args:
        data: the file.
        name: what to call it in an error.

    Raises:
        ImageError: an entry has more than ``MAX_NUMBERS``.
    """
    if not data.startswith(_BEGINNINGS):
        return
    order = "<" if data.startswith(b"II") else ">"
    big = _BIG in data[2:4]
    entry = struct.Struct(order + ("HHQ8x" if big else "HHL4x"))
    try:
        (start,) = struct.unpack_from(order + ("Q" if big else "L"), data, 8 if big else 4)
        (entries,) = struct.unpack_from(order + ("Q" if big else "H"), data, start)
    except struct.error:
        return
    start += 8 if big else 2
    directory = data[start : start + entries * entry.size]
    for tag, kind, numbers in entry.iter_unpack(directory[: len(directory) // entry.size * entry.size]):
        if kind not in _AS_THEY_ARE and numbers > MAX_NUMBERS:
            raise ImageError(
                f"{name}: found a TIFF with {numbers} numbers in its entry {tag}, expected at most {MAX_NUMBERS} "
                "(save it anew, with larger strips or tiles)"
            )
