"""From the bytes of a picture to upright RGB, as a person would see it in a viewer."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from services.core.errors import ImageError
from services.core.files import read_regular
from services.images import jpeg, tiff
from services.images.cost import BYTES_PER_PIXEL, cost_of, in_turn

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")
"""Raster formats only: Pillow would start other programs for some of the rest (EPS)."""
MAX_FILE_BYTES = 64 << 20
MAX_PIXELS = 89_478_485
"""The default of the setting of that name, and Pillow's own limit; ``BYTES_PER_PIXEL`` times that is 512 MiB."""
MAX_ASPECT = 200
"""Longest side over shortest: a resize of the short side multiplies the long one too, so a 1-pixel strip would become a bomb."""
_JPEGS = ("JPEG", "MPO")
_EXPECTED = "expected a JPEG, PNG, WebP, GIF, BMP, TIFF, PNM, AVIF or JPEG 2000 picture"
_NO_PICTURES = {
    "an HTML page": (b"<!doctype html", b"<html"),
    "a PDF document": (b"%pdf",),
    "an SVG or XML document": (b"<svg", b"<?xml"),
    "a JSON document": (b"{", b"["),
    "an address": (b"http://", b"https://"),
    "a form with its boundaries": (b"--",),
}
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns a picture upright, by its EXIF orientation; 1 is upright."""
_STRIP_PIXELS = 1 << 20
_BLOCK = 64 << 20  # glibc gives those of more than 32 MiB back
_MAX_READS = 1 << 19
_MAX_EXIF_BYTES = 1 << 21
"""Twice what a JPEG may have, whose segments hold 64 KiB each."""


class Picture(NamedTuple):
    """A decoded picture, perhaps in fewer pixels than its file has.

    Attributes:
        image: mode RGB, upright.
        size: width and height of the upright picture in its file's own pixels.
        region: left, top, right and bottom of the part of ``image`` that is the picture, in pixels of ``image``. A side that the
            scale does not divide ends within a pixel; who took the whole image for the picture would stretch it by that rest,
            and pixels at edges would be off by up to 100 of 255 instead of 10.
    """

    image: Image.Image
    size: tuple[int, int]
    region: tuple[float, float, float, float]


def own_pillow() -> None:
    """Make ``max_pixels`` the only limit, and silence Pillow's remarks, for the whole process: for programs, not for libraries.

    Pillow itself warns from 89 megapixels on and refuses from twice as many on. What it remarks about odd metadata helps nobody who
    wants to know what is in a picture.

    It also takes memory in larger blocks: those of its own size the C library keeps when they are freed, hundreds of megabytes of them
    once several threads have unpacked large pictures.
    """
    Image.core.set_block_size(_BLOCK)
    warnings.filterwarnings("ignore", module=r"PIL\.")
    Image.MAX_IMAGE_PIXELS = None


def decode(source: Path | bytes, name: str = "", *, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_FILE_BYTES) -> Image.Image:
    """Decode a picture: first frame, turned upright by its EXIF orientation, 8-bit RGB.

    Transparent pictures are laid on white: they are mostly cut-out objects made for a page, and what lies under
    transparent pixels is arbitrary. 16-bit pictures are scaled to 8 bits (65535 becomes 255), not clipped. CMYK is
    converted by Pillow's formula, without colour profiles.

    Args:
        source: a file, or the content of one.
        name: what to call it in an error; the path where empty.
        max_pixels: larger pictures are refused before they are unpacked, and those that take more than ``BYTES_PER_PIXEL`` times so
            many bytes, or a time to match; Pillow's own limit holds as well, see ``own_pillow``.
        max_bytes: longer files are refused before they are looked at.

    Returns:
        An image of mode RGB.

    Raises:
        ImageError: it cannot be read, is longer than ``max_bytes``, is no picture, is damaged, or is too large.
    """
    return decode_scaled(source, name, at_least=None, max_pixels=max_pixels, max_bytes=max_bytes).image


def decode_scaled(
    source: Path | bytes,
    name: str = "",
    *,
    at_least: int | None,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_FILE_BYTES,
) -> Picture:
    """As ``decode``, but a JPEG is unpacked at 1/2, 1/4 or 1/8 of its size where that leaves enough of it.

    That costs a fraction of the time: most of the inverse DCT, and all that comes after it, is left out. Safe in threads.

    Args:
        source: a file, or the content of one.
        name: what to call it in an error; the path where empty.
        at_least: pixels of the short side that are enough; None for all there are.
        max_pixels: of the picture as it is in its file.
        max_bytes: of the file.

    Raises:
        ImageError: as ``decode``.
    """
    with unpacked(source, name, at_least=at_least, max_pixels=max_pixels, max_bytes=max_bytes) as picture:
        return picture


@contextmanager
def unpacked(
    source: Path | bytes,
    name: str = "",
    *,
    at_least: int | None,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_FILE_BYTES,
) -> Iterator[Picture]:
    """As ``decode_scaled``, which it takes the arguments of; as long as it is looked at, no thread unpacks another large one.

    Raises:
        ImageError: as ``decode``, also for whatever goes wrong within the ``with`` statement.
    """
    name = name or (str(source) if isinstance(source, Path) else "picture")
    data = _read(source, name, max_bytes) if isinstance(source, Path) else source
    with opened(data, name, max_pixels=max_pixels, max_bytes=max_bytes) as image:
        size, cost = image.size, cost_of(data, image)
        scale = jpeg.scale_down(image, at_least) if image.format in _JPEGS and at_least is not None else 1
        with in_turn(cost.of(image.size)):
            image.load()
            yield _upright(_rgb(image), size if scale > 1 else image.size, scale, orientation(image))


class _Metered(io.BytesIO):
    """Pillow's parsers are written in Python, and ask for each part of a file: one of millions would keep them busy for a minute."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self._name, self._reads = name, 0

    def read(self, size: int | None = -1, /) -> bytes:
        self._reads += 1
        if self._reads > _MAX_READS:
            raise ImageError(
                f"{self._name}: found a picture of more than {_MAX_READS} parts (a decompression bomb? save it anew, without metadata)"
            )
        return super().read(size)


@contextmanager
def opened(data: bytes, name: str, *, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_FILE_BYTES) -> Iterator[ImageFile]:
    """A picture of which only the header has been read, and held against the bounds.

    Args:
        data: the content of a file.
        name: what to call it in an error.
        max_pixels: as for ``decode``.
        max_bytes: as for ``decode``.

    Raises:
        ImageError: as ``decode``, also for whatever goes wrong within the ``with`` statement.
    """
    if len(data) > max_bytes:
        raise ImageError(f"{name}: found more than {in_words(max_bytes)}, expected a picture of at most that")
    jpeg.check_exif(data, name)
    tiff.check_directory(data, name)
    Image.init()
    try:
        with Image.open(_Metered(data, name), formats=_formats()) as image:
            _check_size(image, data, name, max_pixels)
            if image.format in _JPEGS:
                jpeg.check_scans(data, image, name, max_pixels)
            yield image
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise no_picture(data, name) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{name}: found a picture beyond Pillow's own limit, Image.MAX_IMAGE_PIXELS ({error})") from None
    except Exception as error:  # a damaged file makes Pillow's decoders raise almost anything
        raise ImageError(f"{name}: found a damaged or unusual picture ({error}), {_EXPECTED}") from error


def begins_like_a_picture(data: bytes) -> bool:
    """Whether the first bytes are those of a format that ``decode`` knows."""
    Image.init()
    start = data[:16].ljust(16, b"\0")
    return any(accept and accept(start) for _, accept in map(Image.OPEN.__getitem__, _formats()))


def no_picture(data: bytes, name: str) -> ImageError:
    """The error for content that is of no format that ``decode`` knows."""
    return ImageError(f"{name}: found {describe(data)}, {_EXPECTED}")


def in_words(size: int) -> str:
    """A number of bytes in words: MiB where it is a whole number of them."""
    return f"{size >> 20} MiB" if size >= 1 << 20 and size % (1 << 20) == 0 else f"{size} bytes"


def describe(data: bytes) -> str:
    """Say in a few words what the content of a file, or of a request, that is no picture looks like."""
    start = data[:512].lstrip().lower()
    if not data:
        return "an empty file"
    if words := next((words for words, beginnings in _NO_PICTURES.items() if start.startswith(beginnings)), ""):
        return words
    if data.startswith((b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF")):
        return "a picture that is damaged or cut off near its beginning"
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"hevc", b"mif1"):
        return "a HEIC photograph (convert it to JPEG)"
    if b"\0" not in start and all(byte < 128 for byte in start):
        return "a text file"
    return f"unknown content that begins with bytes {data[:8].hex(' ')}"


def _formats() -> list[str]:
    """Those of ``FORMATS`` that this Pillow was built with, as the option ``formats`` of ``Image.open`` takes them."""
    return [kind for kind in FORMATS if kind in Image.OPEN]


def _read(path: Path, name: str, max_bytes: int) -> bytes:
    try:
        if path.is_dir():
            raise ImageError(f"{name}: found a folder, {_EXPECTED}")
        return read_regular(path, max_bytes)
    except OSError as error:
        raise ImageError(f"{name}: {error.strerror or error}, {_EXPECTED}") from None


def _check_size(image: ImageFile, data: bytes, name: str, max_pixels: int) -> None:
    found = f"found {image.width} x {image.height} pixels"
    if image.width * image.height > max_pixels:
        raise ImageError(f"{name}: {found}, expected at most {max_pixels} in all (MAX_PIXELS; a decompression bomb?)")
    taken, most = cost_of(data, image).of(image.size), BYTES_PER_PIXEL * max_pixels
    if taken > most:
        kind = f"of a {image.format} file of mode {image.mode} and {len(data)} bytes"
        counted = f"they count as {taken // BYTES_PER_PIXEL}, by the memory and time that they take"
        raise ImageError(f"{name}: {found} {kind}: {counted}; expected at most {max_pixels} (MAX_PIXELS; a decompression bomb?)")
    if max(image.size) > MAX_ASPECT * min(image.size):
        found = f"found a strip of {image.width} x {image.height} pixels"
        raise ImageError(f"{name}: {found}, expected a long side of at most {MAX_ASPECT} times the short one")


def orientation(image: Image.Image) -> int:
    """How an opened picture has to be turned, as EXIF counts it; 1 is upright."""
    if len(image.info.get("exif", b"")) > _MAX_EXIF_BYTES:
        return 1
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a damaged EXIF block does not make the picture itself unreadable
        return 1
    return found if found in _UPRIGHT else 1


def turns(orientation: int) -> tuple[bool, bool, bool]:
    """What turns a picture upright: whether its sides are swapped, and whether it is then mirrored across, and upside down."""
    return orientation >= 5, orientation in (2, 3, 6, 7), orientation in (3, 4, 7, 8)


def _upright(image: Image.Image, size: tuple[int, int], scale: int, turn: int) -> Picture:
    """Turn an image; what it has more than ``size / scale``, once on the right and below, goes where its edges go."""
    width, height = size[0] / scale, size[1] / scale
    more = image.width - width, image.height - height
    transposed, leftwards, upwards = turns(turn)
    if transposed:
        size, width, height, more = size[::-1], height, width, more[::-1]
    if turn != 1:
        image = image.transpose(_UPRIGHT[turn])
    left = more[0] if leftwards else 0.0
    top = more[1] if upwards else 0.0
    return Picture(image, size, (left, top, left + width, top + height))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers")
    if image.mode.startswith("I"):
        image = _eight_bits(image)
    if image.has_transparency_data:
        return _on_white(image)
    return image if image.mode == "RGB" else image.convert("RGB")  # convert() copies in any case


def _on_white(image: Image.Image) -> Image.Image:
    """In strips: three copies of the whole in between would be most of what a picture takes."""
    laid = Image.new("RGB", image.size)
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height))).convert("RGBA")
        laid.paste(Image.alpha_composite(Image.new("RGBA", strip.size, "white"), strip).convert("RGB"), (0, top))
    return laid


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale 0..65535 to 0..255; Pillow's own conversion clips at 255, which turns a photograph white."""
    pixels = np.asarray(image)
    least, most = int(pixels.min()), int(pixels.max())
    if least < 0 or most > 65535:
        raise ValueError(f"its pixels are 32-bit numbers, from {least} to {most}; only 16 bits have a known scale")
    rounded = np.minimum(pixels, 65535 - 128, dtype=np.uint16, casting="unsafe")  # so that the sum stays within 16 bits
    rounded += 128
    rounded //= 257
    return Image.fromarray(rounded.astype(np.uint8))
