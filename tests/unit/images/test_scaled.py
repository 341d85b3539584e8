"""A JPEG that is decoded scaled, and a crop that is resized alone, come out as the exact way gives them, within a stated tolerance."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from services.core.card import Preprocessing
from services.core.errors import ImageError
from services.images.decode import decode, decode_scaled
from services.images.jpeg import MAX_SCANS
from services.images.preprocess import input_from_file, input_from_image
from tests.unit.images.pictures import STORED, encoded, jpeg, noise, photograph, recipe

# Of 255, what input_from_file's docstring promises: mean and largest difference.
PHOTOGRAPH, NOISE, ROUNDING = (0.6, 25), (6, 45), (0.1, 2)


def assert_as_exact(data: bytes, preprocessing: Preprocessing, tolerance: tuple[float, float]) -> None:
    exact = input_from_image(decode(data), preprocessing)
    fast = input_from_file(data, preprocessing)
    assert (fast.dtype, fast.shape) == (exact.dtype, exact.shape)
    apart = np.abs(fast.astype(int) - exact)
    assert apart.mean() <= tolerance[0]
    assert apart.max() <= tolerance[1]


@pytest.mark.parametrize(
    ("width", "height", "at_least", "scale"),
    [
        (640, 427, 214, 1),
        (640, 428, 214, 2),
        (427, 640, 213, 2),
        (800, 801, 200, 4),
        (801, 800, 201, 2),
        (1601, 1607, 200, 8),
        (3300, 1607, 100, 8),
        (1000, 5, 2, 2),
        (150, 1, 1, 1),
        (7, 7, 100, 1),
    ],
)
def test_the_short_side_keeps_at_least_what_is_enough(width, height, at_least, scale):
    picture = decode_scaled(jpeg(Image.new("RGB", (width, height))), at_least=at_least)
    assert picture.image.size == (-(-width // scale), -(-height // scale))
    assert picture.size == (width, height)
    assert picture.region == (0, 0, width / scale, height / scale)
    assert min(picture.region[2:]) >= min(at_least, width, height)


def test_other_formats_are_never_scaled():
    image = photograph(640, 400)
    picture = decode_scaled(encoded(image), at_least=10)
    assert picture.image.tobytes() == image.tobytes()
    assert (picture.size, picture.region) == ((640, 400), (0, 0, 640, 400))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("width", "height"),
    [(512, 512), (513, 519), (681, 513), (515, 800), (1024, 1031), (1536, 1029), (1031, 1500), (2049, 2055), (2053, 3001), (515, 1555)],
    ids=str,
)
def test_photographs_of_many_sizes(width, height, interpolation):
    assert_as_exact(jpeg(photograph(width, height)), recipe(interpolation=interpolation), PHOTOGRAPH)


@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"subsampling": 1}, {"progressive": True}, {"quality": 50}], ids=str)
@pytest.mark.parametrize("name", ["rocket", "coffee", "chelsea"])
def test_photographs_of_many_encoders(name, options):
    assert_as_exact(jpeg(photograph(1101, 733, name), **options), recipe(), PHOTOGRAPH)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_the_worst_there_is(interpolation):
    assert_as_exact(jpeg(noise(1031, 773)), recipe(interpolation=interpolation), NOISE)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_colours(mode):
    data = jpeg(photograph(1101, 733).convert(mode))
    assert decode_scaled(data, at_least=256).image.size == (551, 367)
    assert_as_exact(data, recipe(), PHOTOGRAPH)


# 4k + 1 on both sides: the rest of a pixel lies on another side each way.
@pytest.mark.parametrize("orientation", STORED)
def test_every_exif_orientation(orientation):
    scene = photograph(1537, 1029)
    assert_as_exact(jpeg(scene, orientation), recipe(), PHOTOGRAPH)
    picture = decode_scaled(jpeg(scene, orientation), at_least=256)
    left, top, right, bottom = picture.region
    assert picture.image.size == (385, 258)
    assert (picture.size, right - left, bottom - top) == ((1537, 1029), 1537 / 4, 1029 / 4)
    assert (left > 0, top > 0) == (orientation in (2, 3, 6, 7), orientation in (3, 4, 7, 8))
    assert 0 <= left <= right <= 385
    assert 0 <= top <= bottom <= 258


# As in production: Pillow's own remark about it is silenced, and only there.
@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_is_upright():
    picture = decode_scaled(jpeg(photograph(800, 600), exif=b"Exif\0\0II*\0\xff\xff\xff\xff garbage"), at_least=300)
    assert (picture.image.size, picture.size) == ((400, 300), (800, 600))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("width", "height"),
    [
        (1, 1), (1, 150), (150, 1), (3, 2), (20, 31), (60, 40), (112, 112), (128, 128), (128, 200), (200, 128), (129, 131), (255, 255),
        (213, 320), (240, 100), (100, 240), (250, 480), (480, 250), (300, 511), (511, 300), (511, 1500), (1500, 511), (130, 1500),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_not_scaled_differs_by_roundings(width, height, interpolation):
    """The tall ones are resized in the order in which Pillow resizes the whole, though it would take another for the crop."""
    for image in (photograph(width, height), noise(width, height)):
        assert_as_exact(jpeg(image), recipe(interpolation=interpolation), ROUNDING)


@pytest.mark.parametrize(("width", "height"), [(40, 30), (128, 128), (60, 128), (1000, 777), (777, 1000)], ids=str)
@pytest.mark.parametrize(("resize", "crop"), [(100, 112), (128, 128), (20, 128)])
def test_a_crop_larger_than_the_resize_has_the_same_margin(resize, crop, width, height):
    data = jpeg(photograph(width, height))
    exact, fast = input_from_image(decode(data), recipe(resize, crop)), input_from_file(data, recipe(resize, crop))
    outside = [~pixels.any(axis=(0, 2)) for pixels in (exact, fast)]
    np.testing.assert_array_equal(*outside)
    assert np.abs(fast.astype(int) - exact).mean() <= 1


def test_small_pictures_are_decoded_bit_equal():
    for data in (jpeg(photograph(511, 400)), jpeg(photograph(400, 511), 6), jpeg(photograph(64, 300).convert("L"))):
        assert decode_scaled(data, at_least=256).image.tobytes() == decode(data).tobytes()


def test_where_nothing_is_resized_the_pixels_are_those_of_the_file():
    data = jpeg(noise(150, 128))
    np.testing.assert_array_equal(input_from_file(data, recipe()), np.asarray(decode(data))[8:120, 19:131])


@pytest.mark.parametrize("progressive", [False, True])
def test_truncated_is_refused_and_what_follows_the_end_is_not_looked_at(progressive):
    data = jpeg(photograph(1100, 800), progressive=progressive)
    for length in (len(data) // 3, len(data) - 200):
        with pytest.raises(ImageError, match="truncated"):
            decode_scaled(data[:length], at_least=256)
    plain = decode_scaled(data, at_least=256).image.tobytes()
    assert decode_scaled(data + b"\0garbage" * 999, at_least=256).image.tobytes() == plain
    assert decode_scaled(data + b"\xff\xda" * 999, at_least=256).image.tobytes() == plain


def test_of_several_pictures_in_a_jpeg_the_first_is_taken():
    first, second = photograph(1100, 800), Image.new("RGB", (1100, 800))
    data = encoded(first, "MPO", save_all=True, append_images=[second], quality=90)
    assert data.count(b"\xff\xd8\xff") == 2
    picture = decode_scaled(data, at_least=256)
    assert picture.image.tobytes() == decode_scaled(jpeg(first), at_least=256).image.tobytes()


@pytest.mark.parametrize("side", [9_460, 65_000])
@pytest.mark.usefixtures("program")
def test_a_huge_header_is_refused_before_anything_is_unpacked(side):
    data = jpeg(Image.new("RGB", (16, 16)))
    start = data.index(b"\xff\xc0") + 5
    bomb = data[:start] + side.to_bytes(2) * 2 + data[start + 4 :]
    with pytest.raises(ImageError, match=rf"found {side} x {side} pixels, expected at most 89478485"):
        decode_scaled(bomb, at_least=256)


def repeated(data: bytes, times: int) -> bytes:
    """A JPEG with its first scan so many times; between two scans there may be tables."""
    start = data.index(b"\xff\xda")
    end = min(place for place in (data.find(b"\xff\xc4", start), data.find(b"\xff\xda", start + 2)) if place > 0)
    return data[:start] + data[start:end] * times + data[end:]


def test_a_jpeg_of_very_many_scans_is_refused():
    data = jpeg(photograph(64, 48), progressive=True)
    own = data.count(b"\xff\xda")
    assert decode(repeated(data, MAX_SCANS - own)).size == (64, 48)
    with pytest.raises(ImageError, match=f"more than {MAX_SCANS} scans"):
        decode(repeated(data, MAX_SCANS + 2 - own))


def test_what_looks_like_scans_in_the_metadata_counts_for_nothing():
    comment = b"\xff\xfe\xff\x00" + b"\xff\xda" * (0xFEFE // 2)
    for progressive in (False, True):
        data = jpeg(photograph(64, 48), progressive=progressive)
        start = data.index(b"\xff\xda") if progressive else 2
        assert decode(data[:start] + comment + data[start:]).tobytes() == decode(data).tobytes()
        behind = data.rindex(b"\xff\xda") if progressive else start
        assert decode(data[:behind] + comment + data[behind:]).tobytes() == decode(data).tobytes()


def test_threads_get_what_one_gets():
    files = [jpeg(photograph(300 + 17 * index, 513 + 11 * index), 1 + index % 8, progressive=index % 3 == 0) for index in range(20)] * 5
    alone = [input_from_file(data, recipe(64, 56)) for data in files]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda data: input_from_file(data, recipe(64, 56)), files))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)
