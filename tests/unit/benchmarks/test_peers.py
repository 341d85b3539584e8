"""The comparison with other servers, as far as it needs none of them."""

import json
import subprocess
import sys
import time
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from PIL import Image

from benchmarks.peers import wire
from benchmarks.peers.__main__ import parse_arguments
from benchmarks.peers.classifier import centre
from benchmarks.peers.entrants import PEERS, Setting, Start
from benchmarks.peers.environments import REQUIREMENTS, installed
from benchmarks.peers.process import adopt_orphans, children, parents, running
from benchmarks.peers.wire import Picture
from services.core.card import Preprocessing
from services.core.errors import AccuracyError, ServerError, SettingsError
from services.images.decode import decode
from services.images.preprocess import input_from_image

ROOT = Path(__file__).resolve().parents[3]
COFFEE = ROOT / "samples" / "coffee.jpg"
TOLD = Preprocessing(
    resize=256, crop=224, interpolation="bicubic", layout="NCHW", mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), normalised_in_graph=False
)


def test_processes_below_one():
    assert children({2: 1, 3: 2, 4: 3, 5: 1, 6: 9}, 2) == {3, 4}


def test_what_a_server_leaves_behind_is_ended(tmp_path):
    adopt_orphans()
    leave = "import subprocess, time; subprocess.Popen(['sleep', '60'], start_new_session=True)"
    script = f"{leave}; print('up', flush=True); time.sleep(60)"
    log = tmp_path / "log"
    with running([sys.executable, "-c", script], {"PATH": "/usr/bin:/bin"}, tmp_path, log) as process:
        while not log.read_text():
            time.sleep(0.02)
        (left,) = children(parents(), process.pid)
    assert left not in parents()


def test_a_setting_shares_out_the_cores():
    assert Setting().variables(8, spinning=True) == {}
    assert Setting(4, 8).variables(8, spinning=False) == {
        "PEER_WORKERS": "4",
        "PEER_BATCH": "8",
        "PEER_THREADS": "2",
        "PEER_SPINNING": "0",
    }
    assert [str(Setting()), str(Setting(1)), str(Setting(2, 8))] == [
        "its defaults",
        "1 worker, no batching",
        "2 workers, batches of 8",
    ]


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_a_peer_is_tried_with_few_and_many_workers_and_with_batches_where_it_has_them(peer):
    settings = peer.settings(4)
    assert {setting.workers for setting in settings} == {1, 4}
    assert any(setting.batch for setting in settings) == peer.batches
    assert len(set(peer.settings(1))) == len(peer.settings(1))


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
@pytest.mark.parametrize("setting", [Setting(), Setting(2), Setting(1, 8)], ids=str)
def test_a_command_names_its_program_and_its_port(peer, setting, tmp_path):
    start = Start(tmp_path / "bin", (7001, 7002, 7003), tmp_path, setting)
    words = [str(word) for word in peer.command(start)]
    assert Path(words[0]).parent == tmp_path / "bin"
    told = [*words, *peer.variables(start).values(), *(file.read_text() for file in tmp_path.glob("*.properties"))]
    assert any("7001" in word for word in told) or words[1] == "-m"  # a module of ours reads PEER_PORT


def test_torchserve_is_told_its_workers_and_batches(tmp_path):
    (peer,) = (peer for peer in PEERS if peer.name == "torchserve")
    peer.command(Start(tmp_path, (7001, 7002, 7003), tmp_path, Setting(2, 8)))
    (line,) = (line for line in (tmp_path / "config.properties").read_text().splitlines() if line.startswith("models="))
    found = json.loads(line.partition("=")[2])["pictures"]["1.0"]
    assert (found["minWorkers"], found["maxWorkers"], found["batchSize"]) == (2, 2, 8)


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_requirements_are_pinned_and_the_engine_is_ours(peer):
    lines = (peer.folder / REQUIREMENTS).read_text().splitlines()
    assert all("==" in line for line in lines)
    ours = dict(line.split("==") for line in (ROOT / "requirements" / "local.lock").read_text().split() if "==" in line)
    assert [installed(peer.folder, name) for name in ("onnxruntime", "pillow")] == [ours["onnxruntime"], ours["pillow"]]
    assert all(installed(peer.folder, name) for name in peer.packages)


def test_peers_decode_as_the_exact_way_does():
    exact = input_from_image(decode(COFFEE), TOLD)
    cropped = np.asarray(centre(Image.open(COFFEE), 256, 224, "bicubic"), np.float32)
    assert cropped.shape == (224, 224, 3)
    found = wire.tutorial_pixels(COFFEE.read_bytes(), TOLD)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, exact[None], atol=1e-5)


def test_a_wrong_label_is_an_error():
    picture = Picture(b"", frozenset({"espresso", "cup"}))
    picture.check(b"cup")
    with pytest.raises(AccuracyError, match="'dog', expected cup or espresso"):
        picture.check(b"dog")


def test_labels_are_found_where_each_server_puts_them():
    assert wire.label_of_json(b'{"label": "cup"}', {}) == wire.label_of_json(b'[{"label": "cup"}]', {}) == "cup"
    assert wire.label_of_kserve(b'{"outputs": [{"data": ["cup"]}]}', {}) == "cup"


def test_a_form_is_one_that_others_can_read():
    client = wire.post_form("127.0.0.1:1", Picture(b"\xff\xd8 a picture \r\n", frozenset()))
    assert isinstance(client, wire.PostClient)
    head = f"Content-Type: {client._headers['Content-Type']}\r\n\r\n".encode()
    (_, part) = BytesParser().parsebytes(head + client._body).walk()
    assert part.get_param("name", header="content-disposition") == "pictures"
    assert client._body.count(b"\xff\xd8 a picture \r\n") == 1


class Answers(BaseHTTPRequestHandler):
    """As Triton answers a raw file: JSON, another output, the scores."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        outputs = [
            {"name": "version", "parameters": {"binary_data_size": 8}},
            {"name": "scores", "parameters": {"binary_data_size": 12}},
        ]
        head = json.dumps({"outputs": outputs}).encode()
        answer = head + np.int64(1).tobytes() + np.array([0.1, 0.7, 0.2], np.float32).tobytes()
        self.send_response(400 if body == b"bad" else 200)
        self.send_header("Inference-Header-Content-Length", str(len(head)))
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def address():
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_our_answer_is_read_as_a_label(address):
    asked = wire.OursHttp("net_image", "scores", ("cat", "cup", "dog"))
    client = asked(address, Picture(b"a file", frozenset({"cup"})))
    response = client.exchange()
    assert client.answer(response) == b"cup"
    client.close()
    assert wire.wire_bytes(asked, address, Picture(b"a file", frozenset())) == len(b"a file") + len(response)


def test_a_refusal_says_who_and_why(address):
    client = wire.OursHttp("net_image", "scores", ("cat",))(address, Picture(b"bad", frozenset()))
    with pytest.raises(ServerError, match=r"net_image/infer answered 400"):
        client.exchange()
    client.close()


def test_nobody_listens():
    client = wire.post_file("127.0.0.1:1", Picture(b"a file", frozenset()))
    with pytest.raises(ServerError, match=r"127\.0\.0\.1:1 does not answer"):
        client.exchange()


def test_arguments():
    options = parse_arguments(["model", "--only", "ray,tutorial", "--clients", "1,4"])
    assert (options.only, options.clients, options.modes) == (["ray", "tutorial"], [1, 4], ["engine", "product"])
    with pytest.raises(SettingsError, match="found django, expected some of tutorial, fastapi"):
        parse_arguments(["model", "--only", "django"])


def test_help_is_said_without_any_peer():
    done = subprocess.run([sys.executable, "-m", "benchmarks.peers", "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "--chart" in done.stdout
