"""Pictures as files, as cameras and programs write them, and what is to be made of them."""

import io
from typing import Any

import numpy as np
from PIL import Image

from services.core.card import Preprocessing
from services.images.decode import decode
from tests.conftest import ROOT

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


def recipe(resize: int = 128, crop: int = 112, interpolation: Any = "bilinear") -> Preprocessing:
    return Preprocessing(
        resize=resize, crop=crop, interpolation=interpolation, layout="NHWC", normalised_in_graph=True, mean=(0, 0, 0), std=(1, 1, 1)
    )


def photograph(width: int, height: int, name: str = "rocket") -> Image.Image:
    return decode(ROOT / "samples" / f"{name}.jpg").resize((width, height), Image.Resampling.LANCZOS)


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


def jpeg(image: Image.Image, orientation: int = 1, **options) -> bytes:
    return encoded(image, "JPEG", orientation, **({"quality": 90} | options))
