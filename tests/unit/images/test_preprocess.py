"""Pixel for pixel what torchvision's ``Resize(int)`` and ``CenterCrop`` give; the numbers were made with torchvision 0.28 itself."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from services.core.card import Preprocessing
from services.images.preprocess import input_from_file, input_from_image


def picture(width: int, height: int) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([(x * 7 + y * 3) % 256, (x * x + y) % 256, (x * y) % 256], -1).astype(np.uint8))


def recipe(**changes) -> Preprocessing:
    fields: dict[str, Any] = {"resize": 32, "crop": 24, "interpolation": "bilinear", "layout": "NHWC", "normalised_in_graph": True}
    return Preprocessing(**(fields | {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)} | changes))


@pytest.mark.parametrize(
    ("width", "height", "resize", "crop", "interpolation", "first", "middle", "last", "total"),
    [
        (61, 40, 32, 24, "bilinear", [123, 134, 80], [18, 188, 105], [158, 82, 209], 219749),
        (40, 61, 32, 24, "bicubic", [82, 41, 79], [233, 193, 105], [115, 175, 230], 223829),
        (51, 50, 25, 24, "bicubic", [6, 1, 0], [225, 137, 99], [216, 128, 151], 200943),
        (40, 40, 40, 24, "bilinear", [80, 72, 64], [200, 164, 144], [54, 224, 193], 245648),
        (33, 47, 20, 25, "bilinear", [0, 0, 0], [190, 53, 147], [0, 0, 0], 177555),
        (20, 70, 21, 24, "bicubic", [0, 0, 0], [177, 144, 105], [0, 0, 0], 191253),
        (9, 5, 32, 24, "bilinear", [16, 5, 0], [34, 18, 8], [51, 37, 22], 34580),
    ],
    ids=["landscape", "portrait", "odd margin", "no resize", "smaller than the crop", "narrower than the crop", "enlarged"],
)
def test_same_pixels_as_torchvision(width, height, resize, crop, interpolation, first, middle, last, total):
    pixels = input_from_image(picture(width, height), recipe(resize=resize, crop=crop, interpolation=interpolation))
    assert (pixels.dtype, pixels.shape) == (np.uint8, (crop, crop, 3))
    assert pixels[0, 0].tolist() == first
    assert pixels[crop // 2, crop // 2].tolist() == middle
    assert pixels[-1, -1].tolist() == last
    assert int(pixels.sum(dtype=np.int64)) == total


def test_normalised_where_the_graph_does_not():
    plain = Image.new("RGB", (40, 30), (255, 0, 127))
    tensor = input_from_image(plain, recipe(layout="NCHW", normalised_in_graph=False))
    assert (tensor.dtype, tensor.shape) == (np.float32, (3, 24, 24))
    assert tensor.flags.c_contiguous
    np.testing.assert_allclose(tensor[:, 5, 7], [(1 - 0.485) / 0.229, -0.456 / 0.224, (127 / 255 - 0.406) / 0.225], rtol=1e-6)


def test_layout_and_normalisation_are_independent():
    image = picture(50, 40)
    channels_last = input_from_image(image, recipe(normalised_in_graph=False))
    channels_first = input_from_image(image, recipe(normalised_in_graph=False, layout="NCHW"))
    np.testing.assert_array_equal(channels_last.transpose(2, 0, 1), channels_first)
    pixels = input_from_image(image, recipe())
    np.testing.assert_array_equal(pixels.transpose(2, 0, 1), input_from_image(image, recipe(layout="NCHW")))


def test_from_a_file(tmp_path):
    path = tmp_path / "picture.png"
    picture(61, 40).save(path)
    np.testing.assert_array_equal(input_from_file(path, recipe()), input_from_image(picture(61, 40), recipe()))
