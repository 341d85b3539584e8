"""What only a JPEG has: scans, of which there may be too many, and a size that it can be unpacked at."""

import re
from collections.abc import Iterator

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile, get_sampling

from services.core.errors import ImageError

MAX_SCANS = 100
"""Of one JPEG: a progressive one has about ten, and each costs a pass over all pixels, even where it holds next to nothing."""
SCANS_OF_LARGEST = 12
"""Of one that has MAX_PIXELS."""
MAX_EXIF = 16
"""Segments of 64 KiB: Pillow joins them all, each time it finds one."""
_SCALES = (8, 4, 2)  # what libjpeg has fast code for
_START_OF_SCAN, _END = 0xDA, 0xD9
_END_OF_IMAGE = bytes([0xFF, _END])
_SAMPLINGS = (0, 1, 2)  # 4:4:4, 4:2:2 and 4:2:0, as Pillow counts them
_RGB_COMPONENTS = list(b"RGB")  # by these names libjpeg takes them for RGB, not YCbCr
_MARKER = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd8]")  # of those that have a length; no repetition: a run of 0xff would cost its square


def check_exif(data: bytes, name: str) -> None:
    """Refuse a file with too many EXIF blocks; whatever looks like one counts, also in the pictures behind the first.

    Args:
        data: the file; one that is no JPEG is left alone.
        name: what to call it in an error.

    Raises:
        ImageError: it has more than ``MAX_EXIF``.
    """
    if data.startswith(b"\xff\xd8") and data.count(b"Exif\0\0") > MAX_EXIF:
        raise ImageError(f"{name}: found a JPEG of more than {MAX_EXIF} EXIF blocks, expected one (save it anew, without metadata)")


def check_scans(data: bytes, image: Image.Image, name: str, max_pixels: int) -> None:
    """Refuse a file that would be gone over for minutes; what looks like a scan in its metadata, or behind its end, is none.

    Args:
        data: the file.
        image: the same, opened and not yet unpacked.
        name: what to call it in an error.
        max_pixels: one of fewer pixels may have more than ``SCANS_OF_LARGEST``.

    Raises:
        ImageError: it has more than ``MAX_SCANS``, or than its pixels allow.
    """
    most = min(MAX_SCANS, SCANS_OF_LARGEST * max_pixels // (image.width * image.height))
    for scans, place in enumerate(_scans(data), 1):
        if scans == 1 and (_holds_all(data, place, image) or data.count(b"\xff\xda", place) < most):
            return  # libjpeg reads no further than a first scan that holds all; the other is an upper bound, and quick
        if scans > most:
            raise ImageError(
                f"{name}: found a JPEG of more than {most} scans, expected about ten "
                "(a decompression bomb? a viewer that saves it anew makes a common JPEG of it)"
            )


def kept(data: bytes, image: JpegImageFile) -> int:
    """Bytes that libjpeg keeps while it unpacks a file of several scans: its coefficients, of 16 bits each; 0 for any other file.

    Args:
        data: the file.
        image: the same, opened and not yet unpacked, in its full size.
    """
    first = next(_scans(data), None)
    if first is None or _holds_all(data, first, image):
        return 0
    sampled = [int(across * down) for _, across, down, _ in image.layer]
    return 2 * image.width * image.height * sum(sampled) // max(sampled)


def _scans(data: bytes) -> Iterator[int]:
    """Where the scans begin, behind their markers."""
    place = 2
    while (marker := _MARKER.search(data, place)) and (kind := data[marker.end() - 1]) != _END:
        place = marker.end()
        if kind == _START_OF_SCAN:
            yield place
        place += max(2, int.from_bytes(data[place : place + 2]))


def _holds_all(data: bytes, scan: int, image: Image.Image) -> bool:
    """Whether a scan has all components, in full."""
    return not image.info.get("progressive") and data[scan + 2 : scan + 3] == bytes([len(image.getbands())])


def is_common(data: bytes, image: Image.Image) -> bool:
    """Whether a file is complete, and of the kinds that every decoder knows and takes for the same colours.

    Args:
        data: the file.
        image: the same, opened and not yet unpacked.
    """
    if not isinstance(image, JpegImageFile) or image.format != "JPEG" or not data.rstrip(b"\0").endswith(_END_OF_IMAGE):
        return False
    as_rgb = image.info.get("adobe_transform", 1) != 1 or [component for component, *_ in image.layer] == _RGB_COMPONENTS
    return image.mode == "L" or (image.mode == "RGB" and get_sampling(image) in _SAMPLINGS and not as_rgb)


def scale_down(image: Image.Image, at_least: int) -> int:
    """Have an opened file unpacked at 1/8, 1/4 or 1/2, where the short side keeps ``at_least`` pixels; returns 8, 4, 2 or 1."""
    scale = next((scale for scale in _SCALES if min(image.size) >= scale * at_least), 1)
    return scale if scale > 1 and image.draft(None, (image.width // scale, image.height // scale)) else 1
