"""How a classifier is made; what it does with a server is for tests/local."""

import asyncio
import subprocess
import sys

import pytest
from PIL import Image

import services.client
from services.client import AsyncClassifier, Classifier, Named
from services.client.asking import Asking
from services.client.served import ServedModel
from services.core.errors import ImageError, ServerError, SettingsError
from services.core.settings import ClientSettings
from tests.unit.client.fakes import Knowing


@pytest.mark.parametrize(
    ("arguments", "address"),
    [
        ({"url": "triton:8000"}, "http://triton:8000"),
        ({"url": "grpc://triton:8001"}, "grpc://triton:8001"),
        ({"url": "grpcs://triton:8001"}, "grpcs://triton:8001"),
        ({"url": "triton:8001", "protocol": "grpc"}, "grpc://triton:8001"),
        ({"url": "https://triton:443/here"}, "https://triton:443/here"),
        ({}, "http://127.0.0.1:8000"),
    ],
)
def test_the_protocol_is_that_of_the_address(arguments, address):
    assert Classifier(**arguments).address == address
    assert AsyncClassifier(**arguments).address == address


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({"in_flight": 0}, "CLIENT_IN_FLIGHT=0"),
        ({"batch": 0}, "CLIENT_BATCH=0"),
        ({"send": "fax"}, "SEND=fax"),
        ({"timeout": 0}, "REQUEST_TIMEOUT_SECONDS=0"),
        ({"url": "nowhere"}, "'nowhere'"),
        ({"url": "http://triton:8000", "protocol": "grpc"}, "an address for HTTP, expected one for gRPC"),
    ],
)
def test_arguments_that_cannot_be_used(arguments, found):
    with pytest.raises(SettingsError) as caught:
        Classifier(**arguments)
    assert found in str(caught.value)


def test_a_server_that_nobody_started_is_told_when_it_is_first_asked():
    classifier = Classifier("127.0.0.1:1", wait=0)
    for ask in (classifier.__enter__, lambda: next(classifier.classify("a.jpg")), lambda: classifier.classify_one("a.jpg")):
        with pytest.raises(ServerError, match="connection refused"):
            ask()
    classifier.close()


def test_and_to_an_event_loop():
    async def run():
        async with AsyncClassifier("127.0.0.1:1", wait=0):
            pytest.fail("nobody answers")

    with pytest.raises(ServerError, match="connection refused"):
        asyncio.run(run())


def test_the_names_of_the_library_are_imported_when_they_are_used():
    heavy = ("numpy", "pydantic", "PIL", "requests", "tritonclient")
    code = f"import sys, services.client; print([name for name in {heavy} if name in sys.modules]); services.client.Classifier"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "[]"
    assert all(getattr(services.client, name).__name__ == name for name in services.client.__all__)
    with pytest.raises(AttributeError, match="no attribute Classifer"):
        services.client.Classifer  # noqa: B018


def test_a_folder_is_more_than_one_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(Classifier, "_open", lambda _self: pytest.fail("asked"))
    for name in ("a.png", "b.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    with pytest.raises(ImageError, match="found a folder of 2 pictures, expected one picture"):
        Classifier().classify_one(tmp_path)


def test_at_least_one_class_is_asked_for(card):
    with Asking(ServedModel(Knowing(), "tiny", card, 2, 1), ClientSettings(), Knowing) as asking:  # type: ignore[arg-type]
        for ask in (lambda: asking.one(Named("a", b"1"), 0), lambda: next(asking.groups([Named("a", b"1")], -1))):
            with pytest.raises(SettingsError, match=r"top is (0|-1), expected at least 1"):
                ask()
