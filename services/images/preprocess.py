"""From an RGB picture to the input tensor, as torchvision's classification transforms do it.

``input_from_image`` is that pixel for pixel, for what is compared with PyTorch. ``input_from_file`` is the fast way that
serving takes: a large JPEG is not unpacked in full, and what the crop would cut off is never computed.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from services.core.card import Preprocessing
from services.images.decode import MAX_FILE_BYTES, MAX_PIXELS, Picture, unpacked

_INTERPOLATIONS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

_OVERSIZE = 2
"""The resize finds at least so many pixels for each of its own: what it averages away itself, the decoder may leave out."""

Region = tuple[float, float, float, float]
"""Left, top, right and bottom."""
InputArray = npt.NDArray[np.uint8] | npt.NDArray[np.float32]


def input_from_file(
    source: Path | bytes,
    preprocessing: Preprocessing,
    name: str = "",
    *,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_FILE_BYTES,
) -> InputArray:
    """Decode a picture and make one input of it, as serving does; see ``decode_scaled`` and ``input_from_picture``.

    It differs from ``input_from_image(decode(source), preprocessing)`` in a JPEG whose short side has at least ``4 * resize``
    pixels by up to 0.6 of 255 in the mean, and by up to 25 at single edges (in pure noise, the worst there is, by 6 and 45);
    in any other picture by roundings, of 1 and seldom 2.

    Args:
        source: a file, or the content of one.
        preprocessing: the card's description.
        name: what to call it in an error; the path where empty.
        max_pixels: as for ``decode``.
        max_bytes: as for ``decode``.

    Returns:
        As ``input_from_image``.

    Raises:
        ImageError: as ``decode``.
    """
    enough = _OVERSIZE * preprocessing.resize
    with unpacked(source, name, at_least=enough, max_pixels=max_pixels, max_bytes=max_bytes) as picture:
        return input_from_picture(picture, preprocessing)


def input_from_picture(picture: Picture, preprocessing: Preprocessing) -> InputArray:
    """As ``input_from_image``, in one step and from a picture that may have been scaled as it was decoded."""
    return input_from_pixels(np.asarray(_centre(picture, preprocessing)), preprocessing)


def input_from_image(image: Image.Image, preprocessing: Preprocessing) -> InputArray:
    """Resize the short side, crop the centre, and normalise where the graph does not do that itself.

    Args:
        image: an RGB image.
        preprocessing: the card's description.

    Returns:
        One picture without the batch dimension: UINT8 0..255 where ``normalised_in_graph``, else FP32
        ``(pixel / 255 - mean) / std``; ``[crop, crop, 3]`` for layout NHWC, ``[3, crop, crop]`` for NCHW.
    """
    return input_from_pixels(np.asarray(_crop(_resize(_whole(image), preprocessing), preprocessing.crop)), preprocessing)


def input_from_pixels(pixels: npt.NDArray[np.uint8], preprocessing: Preprocessing) -> InputArray:
    """The last step of ``input_from_image``: from the pixels of the crop, ``[crop, crop, 3]``, to layout and type of the input."""
    pixels = pixels.transpose((2, 0, 1) if preprocessing.layout == "NCHW" else (0, 1, 2))
    if preprocessing.normalised_in_graph:
        return np.ascontiguousarray(pixels)
    per_channel = (3, 1, 1) if preprocessing.layout == "NCHW" else (1, 1, 3)
    mean = np.array(preprocessing.mean, np.float32).reshape(per_channel)
    std = np.array(preprocessing.std, np.float32).reshape(per_channel)
    return np.ascontiguousarray((pixels.astype(np.float32) / np.float32(255) - mean) / std)


def crop_region(size: tuple[int, int], preprocessing: Preprocessing, region: Region | None = None) -> Region | None:
    """What of a picture becomes the crop; None where it is not large enough, and the crop has a margin.

    Args:
        size: width and height of the upright picture.
        preprocessing: the card's description.
        region: where the picture lies; in its own pixels where there is none.
    """
    left, top, right, bottom = region or (0.0, 0.0, *map(float, size))
    width, height = _resized(size, preprocessing.resize)
    if min(width, height) < preprocessing.crop:
        return None
    left, right = _part(left, right, width, preprocessing.crop)
    top, bottom = _part(top, bottom, height, preprocessing.crop)
    return left, top, right, bottom


def _whole(image: Image.Image) -> Picture:
    return Picture(image, image.size, (0.0, 0.0, image.width, image.height))


def _resized(size: tuple[int, int], resize: int) -> tuple[int, int]:
    """As torchvision's ``Resize(int)``: the long side is rounded down."""
    short, long = sorted(size)
    new_long = int(resize * long / short)
    return (resize, new_long) if size[0] <= size[1] else (new_long, resize)


def _resize(picture: Picture, preprocessing: Preprocessing) -> Image.Image:
    """All of a picture; Pillow antialiases."""
    size = _resized(picture.size, preprocessing.resize)
    if picture.image.size == size:
        return picture.image
    return picture.image.resize(size, _INTERPOLATIONS[preprocessing.interpolation], picture.region)


def _centre(picture: Picture, preprocessing: Preprocessing) -> Image.Image:
    """``_crop(_resize())`` in one step, where there is something to crop."""
    image, crop, how = picture.image, preprocessing.crop, _INTERPOLATIONS[preprocessing.interpolation]
    size, region = _resized(picture.size, preprocessing.resize), crop_region(picture.size, preprocessing, picture.region)
    if image.size == size or region is None:
        return _crop(_resize(picture, preprocessing), crop)
    left, top, right, bottom = region
    if _downwards_first(image.size, (crop, crop)) == _downwards_first(image.size, size):
        return image.resize((crop, crop), how, (left, top, right, bottom))
    across = image.resize((crop, image.height), how, (left, 0, right, image.height))
    return across.resize((crop, crop), how, (0, top, crop, bottom))


def _part(start: float, end: float, size: int, side: int) -> tuple[float, float]:
    """What of ``start`` to ``end`` becomes the crop, where all of it would become ``size`` pixels."""
    scale = (end - start) / size
    first = start + _offset(size, side) * scale
    return first, min(first + side * scale, end)


def _downwards_first(before: tuple[int, int], after: tuple[int, int]) -> bool:
    """Whether Pillow (from 13) resizes the height before the width; it rounds in between, so sharp edges come out otherwise."""
    return before[1] - after[1] > max(0, 2 * (before[0] - after[0]))


def _crop(image: Image.Image, side: int) -> Image.Image:
    """As torchvision's ``CenterCrop``; Pillow fills what lies outside of the picture with black, as torchvision does."""
    left, top = _offset(image.width, side), _offset(image.height, side)
    return image.crop((left, top, left + side, top + side))


def _offset(size: int, side: int) -> int:
    """Where the crop begins; torchvision rounds to even when it cuts, and down when it pads."""
    return round((size - side) / 2.0) if size >= side else -((side - size) // 2)
