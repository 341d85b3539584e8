"""Pictures as files, on the real server: every format and door, requests that do not disturb one another, swaps under load."""

import base64
import io
import json
import re
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from PIL import Image
from tritonclient import grpc
from tritonclient.grpc import model_config_pb2 as pb

from services.core.card import ModelCard
from services.images.preprocess import input_from_file
from tests.conftest import wait_for
from tests.local.stack import Stack, asking

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = sorted((ROOT / "samples").glob("*.jpg"))
PHOTOGRAPH = SAMPLES[0].read_bytes()
# Between the scores of a picture sent as a file, and as pixels decoded here without any short cut.
TOLERANCE = 0.02
NORMAL, TRANSPOSED = 1, 5


def encoded(picture: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def photograph(size: tuple[int, int] = (320, 240)) -> Image.Image:
    with Image.open(io.BytesIO(PHOTOGRAPH)) as picture:
        return picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def rotated(picture: Image.Image, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(picture, "JPEG", exif=exif)


def sixteen_bits(picture: Image.Image) -> bytes:
    return encoded(Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257), "PNG")


def transparent(picture: Image.Image) -> bytes:
    alpha = Image.linear_gradient("L").resize(picture.size)
    return encoded(Image.merge("RGBA", (*picture.split(), alpha)), "PNG")


KINDS = {
    "jpeg": encoded(photograph(), "JPEG"),
    "progressive": encoded(photograph(), "JPEG", progressive=True),
    "grey": encoded(photograph().convert("L"), "JPEG"),
    "cmyk": encoded(photograph().convert("CMYK"), "JPEG"),
    "rotated": rotated(photograph(), TRANSPOSED),
    "phone": rotated(photograph((2016, 1512)), TRANSPOSED),
    "png": encoded(photograph(), "PNG"),
    "palette": encoded(photograph().quantize(64), "PNG"),
    "alpha": transparent(photograph()),
    "16 bit": sixteen_bits(photograph()),
    "webp": encoded(photograph(), "WEBP"),
    "gif": encoded(photograph(), "GIF", save_all=True, append_images=[photograph().rotate(180)]),
    "bmp": encoded(photograph(), "BMP"),
    "tiff": encoded(photograph(), "TIFF"),
}


class Asker:
    """Asks over gRPC, several pictures a request."""

    def __init__(self, stack: Stack) -> None:
        self._name = f"{stack.name}_image"
        self._client = grpc.InferenceServerClient(f"127.0.0.1:{stack.grpc}")

    def __enter__(self) -> "Asker":
        return self

    def __exit__(self, *_error: object) -> None:
        self._client.close()

    def ask(self, *pictures: bytes, classes: int = 0) -> tuple[np.ndarray, np.ndarray]:
        tensor = grpc.InferInput("encoded", [len(pictures), 1], "BYTES")
        tensor.set_data_from_numpy(np.array(pictures, np.object_).reshape(-1, 1))
        outputs = [grpc.InferRequestedOutput("scores", class_count=classes), grpc.InferRequestedOutput("version")]
        found = self._client.infer(self._name, [tensor], outputs=outputs, client_timeout=60)
        return found.as_numpy("scores"), found.as_numpy("version")

    def pixels(self, model: str, tensor: np.ndarray) -> np.ndarray:
        pixels = grpc.InferInput("images", [1, *tensor.shape], "UINT8")
        pixels.set_data_from_numpy(tensor[np.newaxis])
        scores: np.ndarray = self._client.infer(model, [pixels]).as_numpy("scores")
        return scores


@pytest.fixture(scope="module")
def asker(lite0: Stack):
    with Asker(lite0) as asker:
        yield asker


@pytest.fixture(scope="module")
def exact(lite0: Stack, asker: Asker):
    """Scores of a picture that was decoded whole, here, and sent as pixels."""
    preprocessing = ModelCard.load(lite0.model_folder / "card.json").preprocessing
    return lambda picture: asker.pixels(lite0.name, input_from_file(picture, preprocessing))[0]


def post(stack: Stack, path: str, body: bytes, **headers: str) -> tuple[int, bytes]:
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(f"http://127.0.0.1:{stack.http}/v2/models/{stack.name}_image/{path}", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_any_kind_scores_as_its_pixels_do(asker, exact, kind):
    found, _ = asker.ask(KINDS[kind])
    assert np.abs(found[0] - exact(KINDS[kind])).max() <= TOLERANCE


@pytest.mark.parametrize(
    "size", [(1, 3), (37, 211), (224, 224), (255, 256), (511, 600), (513, 512), (1023, 700), (1025, 1024), (3000, 2000)]
)
def test_photographs_of_any_size_score_as_their_pixels_do(asker, exact, size):
    pictures = [encoded(photograph(size), "JPEG", quality=quality) for quality in (60, 95)]
    found, _ = asker.ask(*pictures)
    assert np.abs(found - np.stack([exact(picture) for picture in pictures])).max() <= TOLERANCE


def test_raw_base64_and_data_url_are_the_same_picture(lite0, asker):
    text = base64.b64encode(PHOTOGRAPH)
    scores, version = asker.ask(PHOTOGRAPH, text, base64.urlsafe_b64encode(PHOTOGRAPH), b"data:image/jpeg;base64," + text)
    assert (scores == scores[0]).all()
    assert version.tolist() == [[lite0.live_version()]] * 4


def test_curl_with_a_file_and_json_with_base64_and_labels(lite0, asker):
    status, body = post(lite0, "infer", PHOTOGRAPH, Inference_Header_Content_Length="0")
    assert status == 200
    assert asker.ask(PHOTOGRAPH)[0][0].tobytes() in body
    question = {
        "inputs": [{"name": "encoded", "datatype": "BYTES", "shape": [1, 1], "data": [base64.b64encode(PHOTOGRAPH).decode()]}],
        "outputs": [{"name": "scores", "parameters": {"classification": 2}}],
    }
    status, body = post(lite0, "infer", json.dumps(question).encode(), Content_Type="application/json")
    assert status == 200
    best = json.loads(body)["outputs"][0]["data"][0]
    assert best.split(":")[2] == asker.ask(PHOTOGRAPH, classes=1)[0][0, 0].decode().split(":")[2]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "found nothing"),
        (b"<!doctype html><html></html>", "an HTML page"),
        (PHOTOGRAPH[:4000], "damaged"),
        (encoded(Image.new("1", (10_000, 9_000)), "PNG"), "found 10000 x 9000 pixels"),
    ],
)
def test_a_body_that_is_no_picture_is_refused_with_the_reason(lite0, body, words):
    status, answer = post(lite0, "infer", body, Inference_Header_Content_Length="0")
    assert status == 400
    message = json.loads(answer)["error"]
    assert message.startswith("picture 1 of 1: ")
    assert words in message


def test_a_bad_picture_fails_its_own_request_and_says_which_it_was(lite0, asker):
    """Many at once, so that the scheduler puts good and bad ones into one batch."""

    def ask(number: int) -> str | np.ndarray:
        with Asker(lite0) as own:
            try:
                return own.ask(*([PHOTOGRAPH, b"no picture at all", PHOTOGRAPH] if number % 3 == 0 else [PHOTOGRAPH]))[0]
            except grpc.InferenceServerException as error:
                return f"{error.status()} {error.message()}"

    good = asker.ask(PHOTOGRAPH)[0]
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(ask, range(60)))
    for number, answer in enumerate(answers):
        if number % 3 == 0:
            assert str(answer).startswith("StatusCode.INVALID_ARGUMENT picture 2 of 3: found "), answer
        else:
            assert np.allclose(answer, good, atol=1e-4)


def test_a_request_without_rows_is_refused(asker):
    with pytest.raises(grpc.InferenceServerException):
        asker.ask()
    assert len(asker.ask(PHOTOGRAPH)[0]) == 1


class Load(threading.Thread):
    """One client that asks without a pause, and keeps what failed and which versions answered."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(daemon=True)
        self._stack = stack
        self.done = threading.Event()
        self.failures, self.versions, self.wrong = list[str](), list[int](), 0

    def run(self) -> None:
        picture = encoded(photograph((64, 48)), "PNG")
        with Asker(self._stack) as asker:
            first, _ = asker.ask(picture)
            while not self.done.is_set():
                try:
                    scores, version = asker.ask(picture)
                    self.versions.append(int(version[0, 0]))
                    self.wrong += not np.allclose(scores, first, atol=1e-3)
                except grpc.InferenceServerException as error:
                    self.failures.append(str(error))


def test_it_follows_swaps_and_a_rollback_under_load_without_a_failed_request(tiny: Stack) -> None:
    tiny.run("builder")
    tiny.serve()
    clients = [Load(tiny) for _ in range(4)]
    with asking(clients):
        tiny.run("builder", OPT_BATCH="2")
        tiny.run("builder", OPT_BATCH="4", DECODE_WORKERS="1")  # loads the model that takes files anew, too
        tiny.run("builder", "rollback", "1")
        wait_for(lambda: all(client.versions[-1:] == [1] for client in clients))
    assert [failure for client in clients for failure in client.failures] == []
    assert [client.wrong for client in clients] == [0] * 4
    for client in clients:
        # Each version in its turn, and none comes back before its own.
        assert [first for first, after in zip(client.versions, [*client.versions[1:], 0], strict=True) if first != after] == [1, 2, 3, 1]


def test_it_goes_and_comes_with_its_model_and_its_labels(tiny: Stack) -> None:
    tiny.run("builder")
    tiny.serve()
    name = f"{tiny.name}_image"
    with grpc.InferenceServerClient(f"127.0.0.1:{tiny.grpc}") as client, Asker(tiny) as asker:
        assert client.is_model_ready(name)
        tiny.run("builder", "retire")
        assert not client.is_model_ready(name)
        tiny.run("builder", "rollback")
        assert client.is_model_ready(name)
        shutil.copy(Path(tiny.settings["ARTIFACTS_DIR"]).with_name("tiny_factory.py"), tiny.folder)
        labels = tiny.folder / "labels.txt"
        labels.write_text("".join(f"kind {number}\n" for number in range(10)))
        tiny.run("exporter", ARTIFACTS_DIR="own", LABELS=str(labels))
        tiny.run("builder", ARTIFACTS_DIR="own", LABELS=str(labels))
        (best, *_), version = asker.ask(PHOTOGRAPH, classes=1)
    assert best[0].decode().split(":")[2].startswith("kind ")
    assert version.tolist() == [[2]]
    tiny.wait_until_healthy(30, lambda _why: None)


def test_limits_of_the_settings_hold_before_anything_is_unpacked(tiny: Stack) -> None:
    tiny.run("builder", MAX_PIXELS="5000", MAX_IMAGE_BYTES="30000")
    tiny.serve()
    for size, quality in product([(50, 50), (200, 200)], [50]):
        status, body = post(tiny, "infer", encoded(photograph(size), "JPEG", quality=quality), Inference_Header_Content_Length="0")
        assert status == (200 if size == (50, 50) else 400), body
    status, body = post(tiny, "infer", PHOTOGRAPH[:10] + bytes(40_000), Inference_Header_Content_Length="0")
    assert status == 400
    assert "found a picture of 40010 bytes, expected at most 30000" in json.loads(body)["error"]


def published_for(tiny: Stack, decoder: str) -> None:
    """What the builder publishes for a GPU, whose instances this server would refuse, says this."""
    config = tiny.folders.repository / f"{tiny.name}_image" / "config.pbtxt"
    message = text_format.Parse(config.read_text(), pb.ModelConfig())
    message.parameters["decoder"].string_value = decoder
    config.write_text(text_format.MessageToString(message))


def test_without_a_gpu_auto_decodes_on_the_cpu_and_gpu_refuses_with_the_reason(tiny: Stack) -> None:
    name = f"{tiny.name}_image"
    tiny.run("builder", DECODER="auto")
    with Asker(tiny) as asker, grpc.InferenceServerClient(f"127.0.0.1:{tiny.grpc}") as client:
        tiny.serve()
        expected, _ = asker.ask(PHOTOGRAPH)
        assert "DALI" not in tiny.log
        tiny.stop()
        published_for(tiny, "auto")
        tiny.serve()
        wait_for(lambda: "pictures are decoded on the CPU: DALI cannot be used here: " in tiny.log)
        wait_for(lambda: is_ready(client, name))
        np.testing.assert_array_equal(asker.ask(PHOTOGRAPH)[0], expected)
        tiny.stop()
        published_for(tiny, "gpu")
        tiny.serve()
        wait_for(lambda: "DECODER=gpu: DALI cannot be used here: " in tiny.log)
        wait_for(lambda: is_ready(client, tiny.name))
        assert not is_ready(client, name)


def is_ready(client: grpc.InferenceServerClient, name: str) -> bool:
    try:
        return bool(client.is_model_ready(name))
    except grpc.InferenceServerException:  # not even the server is
        return False


def readme(language: str, words: str, stack: Stack) -> str:
    """The block of the README that holds the words, for this server."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    (block,) = (block for block in blocks if words in block)
    return str(block.replace("127.0.0.1:8000", f"127.0.0.1:{stack.http}"))


def test_the_readmes_curl_and_python_say_espresso(lite0):
    for command in (["bash", "-c", readme("sh", "curl", lite0)], [sys.executable, "-c", readme("python", "Classifier", lite0)]):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert "espresso" in done.stdout
