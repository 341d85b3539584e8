"""What a picture takes is known before it is unpacked, and MAX_PIXELS bounds it; tests/attack measures it."""

import threading
import time

import pytest
from PIL import Image

from services.core.errors import ImageError
from services.images.cost import LARGE, cost_of, in_turn
from services.images.decode import MAX_PIXELS, decode, opened
from services.images.preprocess import input_from_file
from tests.attack.files import png, scans, tiff, webp
from tests.unit.images.pictures import encoded, jpeg, recipe

pytestmark = pytest.mark.usefixtures("program")
RGB = Image.new("RGB", (300, 200), "teal")


@pytest.mark.parametrize(("width", "height"), [(4000, 3000), (8660, 5774)], ids=["12 megapixels", "50 megapixels"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"progressive": True, "subsampling": 0}], ids=str)
def test_honest_photographs_are_taken(width, height, options):
    assert input_from_file(jpeg(Image.new("RGB", (width, height), "teal"), **options), recipe()).shape == (112, 112, 3)


@pytest.mark.parametrize(
    ("data", "each"),
    [
        pytest.param(encoded(RGB), 4, id="PNG"),
        pytest.param(encoded(RGB.convert("L")), 5, id="grey"),
        pytest.param(encoded(RGB.convert("RGBA")), 9, id="transparent"),
        pytest.param(encoded(RGB, transparency=(0, 0, 0)), 9, id="a transparent colour"),
        pytest.param(png(300, 200, 16, 0), 8, id="16 bits"),
        pytest.param(png(300, 200, 16, 2), 10, id="16 bits a colour"),
        pytest.param(tiff(300, 200), 8, id="one strip"),
        pytest.param(tiff(300, 200, tile=600), 4 + 4 * 6, id="a tile of six times its pixels"),
        pytest.param(jpeg(RGB), 4, id="JPEG"),
        pytest.param(jpeg(RGB, progressive=True), 7, id="progressive, colours at half the size"),
        pytest.param(jpeg(RGB, progressive=True, subsampling=0), 10, id="progressive"),
        pytest.param(webp(300, 200), 17, id="WebP"),
    ],
)
def test_bytes_for_each_pixel(data, each):
    with opened(data, "picture") as image:
        assert cost_of(data, image).of(image.size) == 300 * 200 * each


def test_a_bomb_is_refused_by_its_pixels_and_the_setting_allows_it():
    bomb = webp(3000, 2000)
    with pytest.raises(ImageError, match=r"found 3000 x 2000 pixels of a WEBP file of mode RGBA .* expected at most 9000000 \(MAX_PIXELS"):
        decode(bomb, max_pixels=9_000_000)
    assert decode(bomb, max_pixels=17_000_000).size == (3000, 2000)


def test_a_large_jpeg_may_have_fewer_scans_than_a_small_one():
    data = scans(200, 40)
    assert decode(data).size == (200, 200)
    with pytest.raises(ImageError, match="more than 24 scans"):
        decode(data, max_pixels=80_000)


@pytest.mark.parametrize("count", [1 << 18, (1 << 18) + 1])
def test_a_tiff_announces_only_so_many_numbers(count):
    data = tiff(10, 10, strips=count) + bytes(1 << 20)
    with pytest.raises(ImageError, match="damaged" if count == 1 << 18 else "found a TIFF with 262145 numbers"):
        decode(data)


def test_large_pictures_take_turns_and_small_ones_do_not_wait():
    order: list[str] = []

    def other(taken: int, name: str) -> None:
        with in_turn(taken):
            order.append(name)

    with in_turn(LARGE + 1):
        waiting = threading.Thread(target=other, args=(LARGE + 1, "large"))
        waiting.start()
        other(LARGE, "small")
        time.sleep(0.05)
        order.append("first")
    waiting.join()
    assert order == ["small", "first", "large"]


def test_the_default_is_512_mib():
    assert MAX_PIXELS * 6 <= 512 << 20 < (MAX_PIXELS + 1) * 6
