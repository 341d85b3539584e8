"""What a picture takes to be unpacked, by what its header says: memory, and time where that is the scarcer of the two."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, ROWSPERSTRIP, SAMPLESPERPIXEL, TILELENGTH, TILEWIDTH, TiffImageFile

from services.images import jpeg

BYTES_PER_PIXEL = 6
"""What MAX_PIXELS means in memory: its default is 512 MiB. Pixels that take more count for more."""

# Measured as the peak above an idle process, with Pillow 13; tests/attack holds them to it. Until it is RGB there are two of it.
_OF_MODE = {"RGB": 4, "1": 5, "L": 5, "P": 5, "I;16": 8, "CMYK": 8, "YCbCr": 8, "LAB": 8, "RGBA": 9, "LA": 9, "PA": 9}
_OF_ANY_MODE = 12
_TRANSPARENT = 9
_DEEP, _DEEP_MODES = 10, ("RGB;16B", "RGBA;16B", "LA;16B")  # PNG with 16 bits for each colour
# These hold several copies, or are so slow, a decoder in Python most of all, that 2 s are over first; each byte of some counts, too.
_OF_FORMAT = {"WEBP": 17, "JPEG2000": 25, "AVIF": 20}
_OF_CODEC = {"ppm": 1024, "ppm_plain": 180, "bmp_rle": 100}
_OF_BYTE = {"JPEG2000": 34, "AVIF": 18, "ppm_plain": 34, "bmp_rle": 34}

LARGE = 64 << 20
"""Bytes: smaller pictures are unpacked at the same time, as many as there are threads."""
_large = threading.Lock()


class Cost(NamedTuple):
    """Bytes for each pixel that is unpacked, and for the file as a whole."""

    each: int
    whole: int

    def of(self, size: tuple[int, int]) -> int:
        """Bytes in all, where so many pixels are unpacked."""
        return size[0] * size[1] * self.each + self.whole


def cost_of(data: bytes, image: ImageFile) -> Cost:
    """What an opened picture takes.

    Args:
        data: the file.
        image: the same, opened and not yet unpacked, in its full size.
    """
    codec, args = (image.tile[0][0], image.tile[0][3]) if image.tile else ("", None)
    each = max(
        _DEEP if args in _DEEP_MODES else 0,
        _OF_MODE.get(image.mode, _OF_ANY_MODE),
        _TRANSPARENT if image.has_transparency_data else 0,
        _OF_FORMAT.get(image.format or "", 0),
        _OF_CODEC.get(codec, 0),
    )
    whole = len(data) * max(_OF_BYTE.get(image.format or "", 0), _OF_BYTE.get(codec, 0))
    if codec == "libtiff" and isinstance(image, TiffImageFile):
        whole += _strip(image)
    if isinstance(image, JpegImageFile):
        whole += jpeg.kept(data, image)
    return Cost(each, whole)


def _strip(image: TiffImageFile) -> int:
    """Bytes of what libtiff unpacks at a time: a tile, which may be larger than the picture, or a strip, which is not."""
    tags = image.tag_v2
    each = max(4, tags.get(SAMPLESPERPIXEL, 1) * max(tags.get(BITSPERSAMPLE, (1,))) // 8)  # YCbCr becomes RGBA there
    if TILEWIDTH in tags:
        return int(tags[TILEWIDTH] * tags.get(TILELENGTH, 0) * each)
    return int(image.width * min(tags.get(ROWSPERSTRIP, image.height), image.height) * each)


@contextmanager
def in_turn(taken: int) -> Iterator[None]:
    """Large pictures are unpacked one after another, however many threads there are.

    Args:
        taken: bytes.
    """
    if taken <= LARGE:
        yield
        return
    with _large:
        yield
