"""What the user names on the command line becomes pictures; what cannot be read is told, and the others go on."""

import contextlib
import functools
import http.server
import io
import socket
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image

from services.client import download, inputs
from services.client.inputs import expand, picture
from services.client.pictures import file_of
from services.core.errors import ImageError
from services.images.decode import MAX_FILE_BYTES, decode
from tests.unit.client.servers import web_server


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
    """Names and red values of the first pixels, and what is wrong with the others."""
    found, errors = {}, {}
    for argument in map(str, arguments):
        name = argument
        try:
            for name in expand(argument):
                found[name] = int(np.asarray(decode(file_of(picture(name).content)))[0, 0, 0])
        except ImageError as error:
            errors[name] = str(error).removeprefix("picture: ")
    return found, errors


def test_files_folders_and_patterns(photos):
    assert expand(str(photos / "b.png")) == [str(photos / "b.png")]
    assert expand(str(photos)) == [str(photos / name) for name in ("a.png", "b.png", "more/c.png")]
    assert expand(str(photos / "?.png")) == [str(photos / name) for name in ("a.png", "b.png")]
    found, errors = read(photos)
    assert [*found.values()] == [0, 1, 2]
    assert not errors


def test_what_cannot_be_read_is_told_and_the_others_go_on(photos):
    (photos / "broken.png").write_bytes((photos / "a.png").read_bytes()[:40])
    empty = photos / "empty"
    empty.mkdir()
    long = "x" * 300
    found, errors = read(
        *(photos / name for name in ("missing.png", "broken.png", "empty", "notes.txt", "*.xyz", "b[x].png", long, "a.png")),
    )
    assert [*found] == [str(photos / "a.png")]
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
        assert reason in errors[str(photos / name)]


def test_an_empty_name_is_not_the_current_folder(photos, monkeypatch):
    monkeypatch.chdir(photos)
    found, errors = read("", "a.png")
    assert [*found] == ["a.png"]
    assert errors == {"": "found an empty name, expected a picture (is a variable of the command unset?)"}


@pytest.mark.parametrize("name", ["co:lon.png", "-dash.png", "two  blanks.png", "a*b?.png", "ünï\u202fcode.png", "new\nline.png"])
def test_unusual_file_names(photos, name):
    (photos / "b.png").rename(photos / name)
    found, errors = read(photos / name)
    assert [*found] == [str(photos / name)]
    assert not errors


def test_a_container_sees_other_files(photos, monkeypatch):
    monkeypatch.setattr(inputs, "isolated", lambda: True)
    (error,) = read(photos / "missing.png")[1].values()
    assert error == "no such file; this container sees only what is mounted in it"


def test_a_file_with_brackets_in_its_name_is_no_pattern(photos):
    (photos / "a.png").rename(photos / "a[1].png")
    assert expand(str(photos / "a[1].png")) == [str(photos / "a[1].png")]


def test_standard_input(photos, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((photos / "b.png").read_bytes())))
    assert read("-") == ({"-": 1}, {})
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert "found an empty file" in read("-")[1]["-"]


def test_addresses(web):
    found, errors = read(f"{web}/more/c.png", f"{web}/nothing.png", f"{web}/", "http://127.0.0.1:1/x.png", "http://")
    assert found == {f"{web}/more/c.png": 2}
    assert [*errors] == [f"{web}/nothing.png", f"{web}/", "http://127.0.0.1:1/x.png", "http://"]
    for error, reason in zip(errors.values(), ("HTTP 404", "an HTML page", "cannot be reached", "cannot be fetched"), strict=True):
        assert reason in error


@pytest.mark.parametrize("status", [403, 404, 429, 500, 503])
def test_a_refused_download_is_one_bad_picture(photos, status):
    with web_server(lambda _path: (status, b"")) as port:
        found, errors = read(f"http://127.0.0.1:{port}/x.png", photos / "a.png")
    assert len(found) == 1
    assert f"HTTP {status}" in errors[f"http://127.0.0.1:{port}/x.png"]


def test_a_download_is_bounded_in_size(photos, web, monkeypatch):
    with (photos / "huge.png").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + (1 << 20))
    assert "more than 64 MiB" in read(f"{web}/huge.png")[1][f"{web}/huge.png"]
    monkeypatch.setattr(download, "DOWNLOAD_SECONDS", -1.0)
    assert "not complete after" in read(f"{web}/a.png")[1][f"{web}/a.png"]


def drip(connection, beginning, part):
    """Say something now and then until nobody listens."""
    with contextlib.suppress(OSError), connection:
        connection.recv(1 << 16)
        connection.sendall(beginning)
        while True:
            connection.sendall(part)
            time.sleep(0.02)


@pytest.mark.parametrize(
    ("beginning", "part"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n\x89PNG", b"x", id="a body without end"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n\x89PNG", b"x", id="a slow body"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX-Header: ", b"x", id="slow headers"),
        pytest.param(b"", b"HTTP/1.1 100 Continue\r\n\r\n", id="nothing but 100 Continue"),
        pytest.param(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: /more\r\n\r\n", b"", id="a redirection to silence"),
    ],
)
def test_a_download_is_bounded_in_time_whatever_drips(monkeypatch, beginning, part):
    monkeypatch.setattr(download, "DOWNLOAD_SECONDS", 0.4)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=drip, args=(server.accept()[0], beginning, part), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        started = time.monotonic()
        with pytest.raises(ImageError, match=r"not complete after 0\.4 s"):
            download.download(f"http://127.0.0.1:{server.getsockname()[1]}/x.png")
        assert time.monotonic() - started < 4
        server.shutdown(socket.SHUT_RDWR)
