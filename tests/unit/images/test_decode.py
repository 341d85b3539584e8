"""Every kind of picture becomes upright 8-bit RGB, and whatever is none becomes one clear error."""

import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from services.core.errors import ImageError
from services.images.decode import MAX_FILE_BYTES, MAX_PIXELS, decode, opened
from tests.unit.images.pictures import STORED, encoded

RED, WHITE = (255, 0, 0), (255, 255, 255)


def palette(**options) -> bytes:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, *RED])
    return encoded(image, **options)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(encoded(Image.new("RGB", (4, 4), RED)), RED, id="RGB"),
        pytest.param(encoded(Image.new("RGB", (4, 4), RED), "WEBP", lossless=True), RED, id="WebP"),
        pytest.param(encoded(Image.new("1", (4, 4), 1)), WHITE, id="1 bit"),
        pytest.param(encoded(Image.new("L", (4, 4), 77)), (77, 77, 77), id="greyscale"),
        pytest.param(encoded(Image.new("LA", (4, 4), (77, 255))), (77, 77, 77), id="LA opaque"),
        pytest.param(encoded(Image.new("LA", (4, 4), (77, 0))), WHITE, id="LA transparent on white"),
        pytest.param(encoded(Image.new("RGBA", (4, 4), (0, 0, 0, 0))), WHITE, id="RGBA transparent on white"),
        pytest.param(encoded(Image.new("RGBA", (4, 4), (255, 0, 0, 128))), (255, 127, 127), id="RGBA half on white"),
        pytest.param(palette(), RED, id="palette"),
        pytest.param(palette(transparency=1), WHITE, id="palette, transparent colour"),
        pytest.param(palette(transparency=b"\xff\x80"), (255, 127, 127), id="palette, half transparent colour"),
        pytest.param(encoded(Image.new("RGB", (4, 4), RED), transparency=RED), WHITE, id="RGB, transparent colour"),
        pytest.param(encoded(Image.new("CMYK", (4, 4), (0, 255, 255, 0)), "TIFF"), RED, id="CMYK"),
        pytest.param(encoded(Image.fromarray(np.full((4, 4), 65535, np.uint16))), WHITE, id="16-bit white"),
        pytest.param(encoded(Image.fromarray(np.full((4, 4), 32768, np.uint16))), (128, 128, 128), id="16-bit mid grey is not clipped"),
        pytest.param(encoded(Image.fromarray(np.full((4, 4), 300, np.uint16)), "TIFF"), (1, 1, 1), id="16-bit near black stays dark"),
        pytest.param(b"P5 4 4 65535\n" + struct.pack(">H", 32768) * 16, (128, 128, 128), id="16-bit PGM"),
    ],
)
def test_every_mode_becomes_rgb(data, expected):
    image = decode(data)
    assert image.mode == "RGB"
    assert image.size == (4, 4)
    assert image.getpixel((1, 2)) == expected


def test_cmyk_jpeg_keeps_its_colour():
    pixel = decode(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95)).getpixel((8, 8))
    assert pixel is not None
    assert np.abs(np.subtract(pixel, RED)).max() < 8


def test_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, (0, 0, 255))]
    assert decode(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])).getpixel((0, 0)) == RED


# The scene is "left red, right white, upper left corner black".
@pytest.mark.parametrize("orientation", STORED)
def test_exif_orientation_turns_the_picture_upright(orientation):
    scene = Image.new("RGB", (6, 4), WHITE)
    scene.paste(RED, (0, 0, 3, 4))
    scene.putpixel((0, 0), (0, 0, 0))
    assert decode(encoded(scene, "PNG", orientation)).tobytes() == scene.tobytes()


# As in production: Pillow's own remark about it is silenced, and only there.
@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_is_no_reason_to_refuse_a_picture():
    assert decode(encoded(Image.new("RGB", (8, 8), RED), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff garbage")).size == (8, 8)


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))


@pytest.mark.parametrize(
    ("data", "found"),
    [
        pytest.param(b"", "an empty file", id="empty"),
        pytest.param(b"hello\n", "a text file", id="text"),
        pytest.param(b"  <!DOCTYPE html><html>", "an HTML page", id="HTML"),
        pytest.param(b"<svg xmlns='x'/>", "an SVG", id="SVG"),
        pytest.param(b"%PDF-1.7 \0", "a PDF", id="PDF"),
        pytest.param(encoded(NOISE)[:30], "cut off near its beginning", id="PNG header only"),
        pytest.param(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC photograph", id="HEIC"),
        pytest.param(b"\x00\x01\x02\x03", "00 01 02 03", id="unknown bytes"),
        pytest.param(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n", "a text file", id="EPS is never given to Ghostscript"),
        pytest.param(encoded(NOISE, "JPEG")[:1500], "truncated", id="truncated JPEG"),
        pytest.param(encoded(NOISE)[:6000], "truncated", id="truncated PNG"),
        pytest.param(encoded(NOISE, "TIFF")[:6000], "damaged", id="truncated TIFF"),
        pytest.param(encoded(Image.fromarray(np.full((4, 4), 0.5, np.float32)), "TIFF"), "floating-point", id="floating point"),
        pytest.param(encoded(Image.fromarray(np.full((4, 4), 70000, np.int32)), "TIFF"), "32-bit", id="32-bit"),
        pytest.param(encoded(Image.new("1", (300, 1))), "a strip of 300 x 1", id="strip"),
    ],
)
def test_what_is_no_picture_is_named_and_described(data, found):
    with pytest.raises(ImageError) as caught:
        decode(data, "holiday.jpg")
    assert str(caught.value).startswith("holiday.jpg: ")
    assert found in str(caught.value)
    assert "expected" in str(caught.value)


def bomb(side: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [9_500, 30_000], ids=["where Pillow only warns", "where Pillow refuses"])
@pytest.mark.usefixtures("program")
def test_decompression_bomb_is_an_error(side):
    with pytest.raises(ImageError, match=rf"bomb\.png: found {side} x {side} pixels, expected at most 89478485 .*MAX_PIXELS"):
        decode(bomb(side), "bomb.png")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_library_leaves_pillow_as_it_is(monkeypatch):
    code = "import warnings; from PIL import Image; before = Image.MAX_IMAGE_PIXELS, list(warnings.filters); import services.client; "
    code += "assert (Image.MAX_IMAGE_PIXELS, list(warnings.filters)) == before"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr == ""
    # Another test may have run a program within this process.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", MAX_PIXELS)
    with pytest.raises(ImageError, match=r"bomb\.png: found a picture beyond Pillow's own limit, Image.MAX_IMAGE_PIXELS"):
        decode(bomb(30_000), "bomb.png", max_pixels=1 << 40)


@pytest.mark.usefixtures("program")
def test_a_program_has_one_limit():
    with opened(bomb(30_000), "bomb.png", max_pixels=1 << 40) as image:
        assert image.size == (30_000, 30_000)


def test_the_limit_of_pixels_can_be_lowered_and_raised():
    picture = encoded(Image.new("1", (300, 200)))
    with pytest.raises(ImageError, match="found 300 x 200 pixels, expected at most 59999"):
        decode(picture, max_pixels=59_999)
    assert decode(picture, max_pixels=60_000).size == (300, 200)


def test_the_limit_of_bytes_can_be_lowered_and_raised(tmp_path):
    data = encoded(Image.new("1", (300, 200)))
    path = tmp_path / "picture.png"
    path.write_bytes(data)
    for source in (data, path):
        assert decode(source, max_bytes=len(data)).size == (300, 200)
        with pytest.raises(ImageError, match=f"found more than {len(data) - 1} bytes, expected"):
            decode(source, max_bytes=len(data) - 1)


def test_16_bits_become_8_by_rounding():
    values = np.arange(65536)
    pixels = np.asarray(decode(encoded(Image.fromarray(values.reshape(256, 256).astype(np.uint16)))))[..., 0]
    np.testing.assert_array_equal(pixels.ravel(), np.rint(values / 257))


def test_large_transparent_pictures_are_laid_on_white_without_a_seam():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (1100, 1000, 4), np.uint8))
    whole = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    assert decode(encoded(image, compress_level=0)).tobytes() == whole.tobytes()


def test_files_are_named_by_their_path(tmp_path):
    good = tmp_path / "good.png"
    good.write_bytes(encoded(Image.new("RGB", (5, 3), RED)))
    assert decode(good).size == (5, 3)
    for wrong, reason in ((tmp_path, "a folder"), (tmp_path / "missing.png", "No such file")):
        with pytest.raises(ImageError, match=reason) as caught:
            decode(wrong)
        assert str(wrong) in str(caught.value)


def test_a_huge_file_is_not_read_to_its_end(tmp_path):
    huge = tmp_path / "film.jpg"
    with huge.open("wb") as file:
        file.truncate(MAX_FILE_BYTES * 100)
    with pytest.raises(ImageError, match="more than 64 MiB"):
        decode(huge)


def test_filler_between_the_markers_of_a_jpeg_costs_no_time():
    """A search that went back over each run of filler would take hours."""
    picture = encoded(Image.new("RGB", (40, 30), "teal"), "JPEG")
    decoded = decode(picture[:2] + b"\xff" * 400_000 + picture[2:])
    assert decoded.size == (40, 30)
    with pytest.raises(ImageError):
        decode(picture[:2] + b"\xff" * 1_000_000)
