"""What only a JPEG has: scans, of which there may be too many, and a size that it can be unpacked at."""

import re

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile, get_sampling

from services.core.errors import ImageError

MAX_SCANS = 100
"""Of one JPEG: a progressive one has about ten, and each costs a pass over all pixels, even where it holds next to nothing."""
_SCALES = (8, 4, 2)  # what libjpeg has fast code for
_START_OF_SCAN, _END = 0xDA, 0xD9
_END_OF_IMAGE = bytes([0xFF, _END])
_SAMPLINGS = (0, 1, 2)  # 4:4:4, 4:2:2 and 4:2:0, as Pillow counts them
_RGB_COMPONENTS = list(b"RGB")  # by these names libjpeg takes them for RGB, not YCbCr
_MARKER = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd8]")  # of those that have a length; no repetition: a run of 0xff would cost its square


def check_scans(data: bytes, image: Image.Image, name: str) -> None:
    """Refuse a file that would be gone over for minutes; what looks like a scan in its metadata, or behind its end, is none.

    Args:
        data: the file.
        image: the same, opened and not yet unpacked.
        name: what to call it in an error.

    Raises:
        ImageError: it has more than ``MAX_SCANS``.
    """
    scans, place = 0, 2
    while (marker := _MARKER.search(data, place)) and (kind := data[marker.end() - 1]) != _END:
        place = marker.end()
        if kind == _START_OF_SCAN:
            scans += 1
            whole = not image.info.get("progressive") and data[place + 2 : place + 3] == bytes([len(image.getbands())])
            if scans == 1 and (whole or data.count(b"\xff\xda", place) < MAX_SCANS):
                return  # libjpeg reads no further than a first scan that holds all; the other is an upper bound, and quick
            if scans > MAX_SCANS:
                raise ImageError(
                    f"{name}: found a JPEG of more than {MAX_SCANS} scans, expected about ten "
                    "(a decompression bomb? a viewer that saves it anew makes a common JPEG of it)"
                )
        place += max(2, int.from_bytes(data[place : place + 2]))


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
