"""From an RGB picture to the input tensor, pixel for pixel as torchvision's classification transforms do it."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from services.core.card import Preprocessing
from services.images.decode import MAX_PIXELS, decode

_INTERPOLATIONS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

InputArray = npt.NDArray[np.uint8] | npt.NDArray[np.float32]


def input_from_file(source: Path | bytes, preprocessing: Preprocessing, name: str = "", *, max_pixels: int = MAX_PIXELS) -> InputArray:
    """Decode a picture and make one input of it; see ``decode`` and ``input_from_image``.

    Raises:
        ImageError: it is no picture that can be read.
    """
    return input_from_image(decode(source, name, max_pixels=max_pixels), preprocessing)


def input_from_image(image: Image.Image, preprocessing: Preprocessing) -> InputArray:
    """Resize the short side, crop the centre, and normalise where the graph does not do that itself.

    Args:
        image: an RGB image.
        preprocessing: the card's description.

    Returns:
        One picture without the batch dimension: UINT8 0..255 where ``normalised_in_graph``, else FP32
        ``(pixel / 255 - mean) / std``; ``[crop, crop, 3]`` for layout NHWC, ``[3, crop, crop]`` for NCHW.
    """
    cropped = _crop(_resize(image, preprocessing), preprocessing.crop)
    pixels: npt.NDArray[np.uint8] = np.asarray(cropped).transpose((2, 0, 1) if preprocessing.layout == "NCHW" else (0, 1, 2))
    if preprocessing.normalised_in_graph:
        return np.ascontiguousarray(pixels)
    per_channel = (3, 1, 1) if preprocessing.layout == "NCHW" else (1, 1, 3)
    mean = np.array(preprocessing.mean, np.float32).reshape(per_channel)
    std = np.array(preprocessing.std, np.float32).reshape(per_channel)
    return np.ascontiguousarray((pixels.astype(np.float32) / np.float32(255) - mean) / std)


def _resize(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    """As torchvision's ``Resize(int)``: the long side is rounded down, and Pillow antialiases."""
    short, long = sorted(image.size)
    new_long = int(preprocessing.resize * long / short)
    size = (preprocessing.resize, new_long) if image.width <= image.height else (new_long, preprocessing.resize)
    return image if image.size == size else image.resize(size, _INTERPOLATIONS[preprocessing.interpolation])


def _crop(image: Image.Image, side: int) -> Image.Image:
    """As torchvision's ``CenterCrop``; Pillow fills what lies outside of the picture with black, as torchvision does."""
    left, top = _offset(image.width, side), _offset(image.height, side)
    return image.crop((left, top, left + side, top + side))


def _offset(size: int, side: int) -> int:
    """Where the crop begins; torchvision rounds to even when it cuts, and down when it pads."""
    return round((size - side) / 2.0) if size >= side else -((side - size) // 2)
