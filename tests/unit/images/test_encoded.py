"""A request's element becomes the picture file in it, or one error that says what was sent and what to send."""

import base64

import numpy as np
import pytest
from PIL import Image

from services.core.errors import ImageError
from services.images.decode import FORMATS, decode
from services.images.encoded import picture_bytes
from tests.unit.images.pictures import encoded

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8))
PICTURE = encoded(NOISE, "JPEG")
TEXT = base64.b64encode(PICTURE)
URL_SAFE = base64.urlsafe_b64encode(PICTURE)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_picture_is_taken_as_it_is_and_as_base64(kind):
    picture = encoded(NOISE, kind)
    assert picture_bytes(picture) is picture
    assert picture_bytes(base64.b64encode(picture)) == picture
    assert np.asarray(decode(picture)).shape == (8, 9, 3)


def test_so_is_a_text_of_numbers_that_is_a_picture():
    plain = b"P3\n1 1\n255\n7 8 9\n"
    assert picture_bytes(plain) is plain


@pytest.mark.parametrize(
    "element",
    [
        pytest.param(base64.encodebytes(PICTURE), id="in lines"),
        pytest.param(b"\r\n  " + base64.encodebytes(PICTURE).replace(b"\n", b"\r\n\t"), id="indented"),
        pytest.param(TEXT.rstrip(b"="), id="without padding"),
        pytest.param(URL_SAFE, id="URL-safe"),
        pytest.param(b"data:image/jpeg;base64," + TEXT, id="data URL"),
        pytest.param(b" DATA:image/jpeg;name=a.jpg;BASE64," + URL_SAFE, id="data URL, with a parameter"),
        pytest.param(b"data:application/octet-stream;base64,\n" + base64.encodebytes(PICTURE), id="data URL of unknown type"),
    ],
)
def test_all_ways_to_write_base64(element):
    assert b"-" in URL_SAFE or b"_" in URL_SAFE
    assert picture_bytes(element) == PICTURE


@pytest.mark.parametrize(
    ("element", "found"),
    [
        pytest.param(b"", "found nothing", id="empty"),
        pytest.param(b" \n", "base64 of an empty file", id="blank"),
        pytest.param(b"holiday.jpg", "a text file", id="a name"),
        pytest.param(b"https://example.org/a.jpg", "an address", id="address"),
        pytest.param(b'{"image": "/9j/4AAQ"}', "a JSON document", id="JSON"),
        pytest.param(b'--x1\r\nContent-Disposition: form-data; name="file"\r\n\r\n' + PICTURE, "a form", id="form"),
        pytest.param(b"<html>", "an HTML page", id="HTML"),
        pytest.param(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC photograph", id="HEIC"),
        pytest.param(TEXT[:-3], "cut off", id="cut off"),
        pytest.param(TEXT[:40] + b"=" + TEXT[40:], "other characters", id="two in a row"),
        pytest.param(TEXT.replace(b"/", b"%2F"), "other characters", id="percent-encoded"),
        pytest.param(base64.b64encode(b"<!doctype html>"), "base64 of an HTML page", id="base64 of HTML"),
        pytest.param(base64.b64encode(TEXT), "base64 of a text file", id="base64 twice"),
        pytest.param(b"data:image/svg+xml,%3Csvg/%3E", "a data URL without ';base64,'", id="data URL, not base64"),
        pytest.param(b"data:image/jpeg;base64", "a data URL without ';base64,'", id="data URL, header only"),
        pytest.param(b"data:text/html;base64," + base64.b64encode(b"<html>"), "base64 of an HTML page", id="data URL of HTML"),
    ],
)
def test_what_is_no_picture_is_named_and_described(element, found):
    with pytest.raises(ImageError) as caught:
        picture_bytes(element, "picture 2 of 3")
    assert str(caught.value).startswith("picture 2 of 3: found ")
    assert found in str(caught.value)
    assert "expected a picture file as it is (curl --data-binary" in str(caught.value)


def test_the_limit_is_that_of_the_picture_however_it_is_sent():
    in_lines = base64.encodebytes(PICTURE)
    for element in (PICTURE, TEXT, in_lines, b"data:image/jpeg;base64," + TEXT):
        assert picture_bytes(element, max_bytes=len(PICTURE)) == PICTURE
        with pytest.raises(ImageError, match=rf"picture of {len(PICTURE)} bytes, expected at most {len(PICTURE) - 1} bytes"):
            picture_bytes(element, max_bytes=len(PICTURE) - 1)


def test_long_text_is_refused_before_it_is_decoded():
    with pytest.raises(ImageError, match="found 4000000 bytes, expected a picture of at most 2 MiB, or base64 of one"):
        picture_bytes(b"!" * 4_000_000, max_bytes=2 << 20)
