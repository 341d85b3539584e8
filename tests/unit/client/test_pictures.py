"""What a program hands over as a picture: its names, and the file that is made of it."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from services.client import pictures
from services.client.pictures import Named, batches, file_of, is_file, named
from services.core.errors import ImageError
from services.images.decode import decode

RNG = np.random.default_rng(1)
PIXELS = RNG.integers(0, 255, (6, 5, 3), np.uint8)


def seen(data: bytes) -> np.ndarray:
    return np.asarray(decode(data))


def unreadable() -> bytes:
    raise OSError("out of reach")


def names(handed_over):
    return [name for name, _ in named(handed_over)]


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "more").mkdir()
    for name in ("b.png", "a.png", "more/c.png"):
        Image.fromarray(PIXELS).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


def test_a_folder_stands_for_its_pictures(photos):
    expected = [str(photos / name) for name in ("a.png", "b.png", "more/c.png")]
    assert names(photos) == names(str(photos)) == names([photos]) == expected
    assert names([photos / "more", "x.png"]) == [str(photos / "more/c.png"), "x.png"]


def test_what_has_no_name_is_called_by_its_place():
    handed_over = [b"1", Image.fromarray(PIXELS), "x.png", PIXELS, Named("mine", b"2"), lambda: b"3"]
    assert names(handed_over) == ["picture 1", "picture 2", "x.png", "picture 4", "mine", "picture 6"]


@pytest.mark.parametrize("alone", [b"1", "x.png", Path("x.png"), PIXELS, Image.fromarray(PIXELS), Named("mine", b"1"), lambda: b"1"])
def test_one_alone_is_one(alone):
    assert len(names(alone)) == 1


def test_a_batch_of_arrays_is_several():
    assert names(np.stack([PIXELS, PIXELS])) == ["picture 1", "picture 2"]


def test_they_are_taken_one_at_a_time():
    endless = named(f"{index}.png" for index in iter(int, 1))
    assert next(endless) == ("0.png", "0.png")


@pytest.mark.parametrize("wrong", [None, 5, [[b"1"]], 1.5])
def test_what_is_no_picture_is_a_mistake_of_the_program(wrong):
    with pytest.raises(TypeError):
        names([wrong])


def test_a_file_stays_as_it_is(photos):
    data = (photos / "a.png").read_bytes()
    for content in (data, bytearray(data), memoryview(data), str(photos / "a.png"), photos / "a.png", lambda: data):
        assert is_file(content)
        assert file_of(content) == data


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "RGBA", "LA", "P", "CMYK", "YCbCr", "I;16"])
def test_an_image_is_seen_as_its_file_would_be(mode):
    image = Image.fromarray(np.kron(PIXELS, np.ones((8, 8, 1), np.uint8)))
    image = Image.fromarray(RNG.integers(0, 65535, (6, 5), np.uint16)) if mode == "I;16" else image.convert(mode)
    file = io.BytesIO()
    image.save(file, {"CMYK": "TIFF", "YCbCr": "TIFF"}.get(mode, "PNG"))
    assert not is_file(image)
    np.testing.assert_array_equal(seen(file_of(image)), np.asarray(image.convert("RGB")) if mode == "YCbCr" else seen(file.getvalue()))


def test_a_transparent_image_with_a_palette_lies_on_white():
    image = Image.new("P", (4, 4), 0)
    image.putpalette([200, 0, 0])
    image.info["transparency"] = 0
    assert seen(file_of(image)).min() == 255


def test_an_image_is_turned_upright():
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PIXELS).save(file, "PNG", exif=exif)
    with Image.open(file) as image:
        np.testing.assert_array_equal(seen(file_of(image)), seen(file.getvalue()))
        assert seen(file_of(image)).shape == (5, 6, 3)


@pytest.mark.parametrize("array", [PIXELS, PIXELS[::2, ::-1], np.asfortranarray(PIXELS)])
def test_pixels_stay_as_they_are(array):
    np.testing.assert_array_equal(seen(file_of(array)), array)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (PIXELS / 255, "found an array float64 of shape [6, 5, 3], expected uint8 [height, width, 3]"),
        (PIXELS[..., 0], "shape [6, 5]"),
        (PIXELS[:0], "shape [0, 5, 3]"),
        (unreadable, "out of reach"),
        ("", "empty name"),
        (b"", "empty file"),
        ("missing.png", "No such file"),
        ("x\0y.png", "null byte"),
        (Image.new("F", (4, 4)), "floating-point"),
    ],
)
def test_what_cannot_be_read_says_why(content, reason):
    with pytest.raises(ImageError) as caught:
        decode(file_of(content))
    assert reason in str(caught.value)


@pytest.mark.parametrize(("name", "reason"), [("pipe.png", "a named pipe"), ("zero.png", "a device"), ("proc.png", "an empty file")])
def test_what_never_ends_is_not_read(tmp_path, name, reason):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "proc.png").symlink_to("/proc/self/pagemap")
    with pytest.raises(ImageError, match=reason):
        file_of(tmp_path / name)
    with pytest.raises(ImageError, match=reason):
        decode(tmp_path / name)


def test_a_folder_without_pictures_says_so(tmp_path):
    (handed_over,) = named(tmp_path)
    with pytest.raises(ImageError, match="found a folder without pictures"):
        file_of(handed_over.content)


def test_an_image_whose_file_is_damaged(photos):
    (photos / "cut.png").write_bytes((photos / "a.png").read_bytes()[:60])
    with Image.open(photos / "cut.png") as image, pytest.raises(ImageError, match="damaged"):
        file_of(image)


def test_a_file_has_a_longest(photos, monkeypatch):
    monkeypatch.setattr(pictures, "MAX_FILE_BYTES", 50)
    for content in (photos / "a.png", b"x" * 51):
        with pytest.raises(ImageError, match="found more than"):
            file_of(content)


def test_batches_keep_order_and_rest():
    assert list(batches(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(batches([], 3)) == []
    assert next(batches(iter(int, 1), 2)) == [0, 0]
