"""A tensor, turned into a picture, comes back."""

import numpy as np
import pytest
from PIL import Image

from services.images.inverse import picture_of
from services.images.preprocess import input_from_file, input_from_image


@pytest.mark.parametrize("pixels", [True, False])
@pytest.mark.parametrize(("resize", "crop"), [(256, 224), (232, 224), (9, 8), (8, 8), (7, 10), (8, 11)])
@pytest.mark.parametrize("shape", [(40, 60, 3), (60, 40, 3), (50, 50, 3), (20, 21, 3)])
def test_what_was_made_of_a_picture_comes_back_from_its_inverse(make_card, pixels, resize, crop, shape):
    preprocessing = make_card(pixels=pixels, size=8).preprocessing.model_copy(update={"resize": resize, "crop": crop})
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    first = input_from_image(Image.fromarray(noise), preprocessing)
    assert np.array_equal(input_from_file(picture_of(first, preprocessing), preprocessing), first)
