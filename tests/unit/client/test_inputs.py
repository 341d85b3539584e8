"""What the user names becomes a stream of pictures; what cannot be read is told, and the others go on."""

import functools
import http.server
import io
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from services.client import inputs
from services.client.inputs import batches, expand, expand_all, read_pictures
from services.core.card import Preprocessing
from services.core.errors import ImageError
from services.images.decode import MAX_FILE_BYTES
from tests.unit.client.servers import web_server

RECIPE = Preprocessing(resize=8, crop=8, interpolation="bilinear", layout="NHWC", mean=(0, 0, 0), std=(1, 1, 1), normalised_in_graph=True)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for index, name in enumerate(("a.png", "b.png", "more/c.png")):
        Image.new("RGB", (10, 12), (index, 0, 0)).save(folder / name)
    (folder / "notes.txt").write_text("not a picture")
    return folder


@pytest.fixture
def web(photos):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(photos))) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def read(*arguments):
    errors: list[ImageError] = []
    names = expand_all(map(str, arguments), errors.append)
    return list(read_pictures(names, RECIPE, errors.append, max_pixels=1000)), [str(error) for error in errors]


def test_files_folders_and_patterns(photos):
    found, errors = read(photos / "b.png", photos, photos / "?.png")
    assert [int(picture.tensor[0, 0, 0]) for picture in found] == [1, 0, 1, 2, 0, 1]
    assert found[0].name == str(photos / "b.png")
    assert found[0].tensor.shape == (8, 8, 3)
    assert not errors


def test_what_cannot_be_read_is_told_and_the_others_go_on(photos):
    (photos / "broken.png").write_bytes((photos / "a.png").read_bytes()[:40])
    empty = photos / "empty"
    empty.mkdir()
    long = "x" * 300
    found, errors = read(
        *(photos / name for name in ("missing.png", "broken.png", "empty", "notes.txt", "*.xyz", "b[x].png", long, "a.png")),
    )
    assert [picture.name for picture in found] == [str(photos / "a.png")]
    reasons = {
        "missing.png": "no such file",
        "broken.png": "damaged",
        "empty": "without pictures",
        "notes.txt": "text",
        "*.xyz": "no picture matches this pattern",
        "b[x].png": "no picture matches this pattern",
        long: "File name too long",
    }
    assert len(errors) == len(reasons)
    for name, reason in reasons.items():
        assert any(error.startswith(f"{photos / name}: ") and reason in error for error in errors), (name, errors)


def test_an_empty_name_is_not_the_current_folder(photos, monkeypatch):
    monkeypatch.chdir(photos)
    found, errors = read("", "a.png")
    assert [picture.name for picture in found] == ["a.png"]
    assert errors == ["found an empty name, expected a picture (is a variable of the command unset?)"]


@pytest.mark.parametrize("name", ["co:lon.png", "-dash.png", "two  blanks.png", "a*b?.png", "ünï\u202fcode.png", "new\nline.png"])
def test_unusual_file_names(photos, name):
    (photos / "b.png").rename(photos / name)
    found, errors = read(photos / name)
    assert [picture.name for picture in found] == [str(photos / name)]
    assert not errors


def test_a_container_sees_other_files(photos, monkeypatch):
    monkeypatch.setattr(inputs, "isolated", lambda: True)
    assert read(photos / "missing.png")[1][0].endswith("no such file; this container sees only what is mounted in it")


def test_the_largest_picture_is_a_setting(photos):
    Image.new("RGB", (40, 30)).save(photos / "large.png")
    found, errors = read(photos / "large.png", photos / "a.png")
    assert [picture.name for picture in found] == [str(photos / "a.png")]
    assert "MAX_PIXELS" in errors[0]


def test_a_file_with_brackets_in_its_name_is_no_pattern(photos):
    (photos / "a.png").rename(photos / "a[1].png")
    assert expand(str(photos / "a[1].png")) == [str(photos / "a[1].png")]


def test_pictures_are_read_one_at_a_time(photos):
    stream = read_pictures(expand(str(photos)), RECIPE, lambda error: pytest.fail(str(error)), max_pixels=1000)
    assert next(stream).name == str(photos / "a.png")
    (photos / "b.png").unlink()
    with pytest.raises(pytest.fail.Exception, match=r"b\.png: No such file"):
        next(stream)


def test_standard_input(photos, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((photos / "b.png").read_bytes())))
    found, _ = read("-")
    assert (found[0].name, int(found[0].tensor[0, 0, 0])) == ("-", 1)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert "standard input: found an empty file" in read("-")[1][0]


def test_addresses(web):
    found, errors = read(f"{web}/more/c.png", f"{web}/nothing.png", f"{web}/", "http://127.0.0.1:1/x.png", "http://")
    assert [int(picture.tensor[0, 0, 0]) for picture in found] == [2]
    assert [error.split(": ", 1)[0] for error in errors] == [f"{web}/nothing.png", f"{web}/", "http://127.0.0.1:1/x.png", "http://"]
    for error, reason in zip(errors, ("HTTP 404", "an HTML page", "cannot be reached", "cannot be fetched"), strict=True):
        assert reason in error


@pytest.mark.parametrize("status", [403, 404, 429, 500, 503])
def test_a_refused_download_is_one_bad_picture(photos, status):
    with web_server(lambda _path: (status, b"")) as port:
        found, errors = read(f"http://127.0.0.1:{port}/x.png", photos / "a.png")
    assert len(found) == 1
    assert f"HTTP {status}" in errors[0]


def test_a_download_is_bounded_in_size(photos, web, monkeypatch):
    with (photos / "huge.png").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + (1 << 20))
    assert "more than 64 MiB" in read(f"{web}/huge.png")[1][0]
    monkeypatch.setattr(inputs, "DOWNLOAD_SECONDS", -1.0)
    assert "not complete after" in read(f"{web}/a.png")[1][0]


def test_batches_keep_order_and_rest():
    assert list(batches(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(batches([], 3)) == []
    assert next(batches(iter(int, 1), 2)) == [0, 0]


def test_tensors_stack_to_the_batch(photos):
    found, _ = read(photos)
    assert np.stack([picture.tensor for picture in found]).shape == (3, 8, 8, 3)
