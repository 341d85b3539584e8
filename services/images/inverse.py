"""From an input tensor back to a picture that gives it, so that known answers can be asked for with a file, too."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from services.core.card import Preprocessing
from services.images.preprocess import InputArray


def picture_of(tensor: InputArray, preprocessing: Preprocessing) -> bytes:
    """A PNG file whose preprocessing gives ``tensor`` back, pixel for pixel.

    Its short side is that of the resize, which therefore leaves it alone; what the centre crop takes away is black.

    Args:
        tensor: one input without the batch dimension, made by this preprocessing.
        preprocessing: the card's description.
    """
    pixels = tensor.transpose(1, 2, 0) if preprocessing.layout == "NCHW" else tensor
    if not preprocessing.normalised_in_graph:
        pixels = np.rint((pixels * np.array(preprocessing.std) + np.array(preprocessing.mean)) * 255).clip(0, 255)
    file = io.BytesIO()
    Image.fromarray(_uncropped(pixels.astype(np.uint8), preprocessing.resize)).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _uncropped(pixels: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """The picture, with a short side of ``side``, whose centre crop is ``pixels``."""
    crop = len(pixels)
    if crop <= side:
        canvas = np.zeros((side, side, 3), np.uint8)
        start = round((side - crop) / 2.0)
        canvas[start : start + crop, start : start + crop] = pixels
        return canvas
    # The crop was larger than the short side, and black was added on both ends of it.
    start = (crop - side) // 2
    rows, columns = pixels[start : start + side], pixels[:, start : start + side]
    return rows if np.count_nonzero(rows) == np.count_nonzero(pixels) else columns
