"""From an input tensor back to a picture that gives it, so that known answers can be asked for with a file, too."""

import io

import numpy as np
from PIL import Image

from services.core.card import Preprocessing
from services.images.preprocess import InputArray


def picture_of(tensor: InputArray, preprocessing: Preprocessing) -> bytes:
    """A PNG file whose preprocessing gives ``tensor`` back, pixel for pixel.

    Its sides are those of the resize, which leaves it alone; what the centre crop takes away is black.

    Args:
        tensor: one input without the batch dimension, made by this preprocessing.
        preprocessing: the card's description.
    """
    pixels = tensor.transpose(1, 2, 0) if preprocessing.layout == "NCHW" else tensor
    if not preprocessing.normalised_in_graph:
        pixels = np.rint((pixels * np.array(preprocessing.std) + np.array(preprocessing.mean)) * 255).clip(0, 255)
    side, crop = preprocessing.resize, preprocessing.crop
    # A crop that is larger than the picture was padded: then its middle is the whole picture.
    pad, cut = max(0, (crop - side) // 2), max(0, round((side - crop) / 2.0))
    inner = pixels[pad : pad + side, pad : pad + side].astype(np.uint8)
    canvas = np.zeros((side, side, 3), np.uint8)
    canvas[cut : cut + len(inner), cut : cut + len(inner)] = inner
    file = io.BytesIO()
    Image.fromarray(canvas).save(file, "PNG", compress_level=1)
    return file.getvalue()
