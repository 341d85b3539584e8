"""Many pictures at once, each with its own result; tests/local has the served model around it."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from services.core.errors import ImageError
from services.images.preprocess import input_from_file
from services.triton.decoder import Decoder, Picture


def jpeg(shade: int, size: tuple[int, int] = (40, 30)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (shade, 255 - shade, shade // 2)).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture
def decoder():
    decoder = Decoder(3, max_pixels=2000, max_bytes=5000)
    yield decoder
    decoder.close()


def test_results_stand_in_the_order_of_the_pictures(decoder, make_card):
    preprocessing = make_card().preprocessing
    files = [jpeg(shade) for shade in range(0, 250, 10)]
    decoded = decoder.decode([Picture(str(number), file) for number, file in enumerate(files)], preprocessing)
    assert all(np.array_equal(found, input_from_file(file, preprocessing)) for found, file in zip(decoded, files, strict=True))


def test_a_bad_picture_is_named_and_leaves_the_others_alone(decoder, make_card):
    good, large, long = jpeg(1), jpeg(1, (100, 100)), jpeg(1) + bytes(6000)
    pictures = [good, b"words", base64.b64encode(good), large, b"", long]
    decoded = decoder.decode(
        [Picture(f"picture {number} of 6", picture) for number, picture in enumerate(pictures, 1)], make_card().preprocessing
    )
    assert np.array_equal(decoded[0], decoded[2])
    errors = [str(found) for found in decoded if isinstance(found, ImageError)]
    for error, words in zip(
        errors, ("2 of 6: found", "4 of 6: found 100 x 100", "5 of 6: found nothing", "6 of 6: found a picture of"), strict=True
    ):
        assert error.startswith(f"picture {words}")


def test_one_picture_needs_no_thread(decoder, make_card):
    (found,) = decoder.decode([Picture("one", jpeg(7))], make_card().preprocessing)
    assert found.shape == (8, 8, 3)
