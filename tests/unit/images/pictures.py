"""Pictures as files, as cameras and programs write them."""

import io

from PIL import Image

STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""What a camera does to an upright scene for each way it was held (EXIF 2.32, tag 0x0112)."""


def encoded(image: Image.Image, kind: str = "PNG", orientation: int = 1, **options) -> bytes:
    """The file of a picture, stored as a camera that was held this way stores it."""
    way = STORED[orientation]
    if way is not None:
        image = image.transpose(way)
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = orientation
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
