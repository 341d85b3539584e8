"""A group of pictures: one bad one is one bad result, whatever it costs the others."""

import io

import numpy as np
import pytest
from PIL import Image

from services.client import answers as module
from services.client.answers import answers
from services.client.pictures import Named
from services.client.protocol import RefusedError
from services.client.served import ServedModel
from tests.unit.client.fakes import Knowing

JPEG = b"\xff\xd8\xff"
BAD, REASON = JPEG + b"bad", "found nonsense"


def file(number: int, size: int = 4) -> bytes:
    return JPEG + bytes([number]) * (size - len(JPEG))


def pixels(number: int) -> np.ndarray:
    return np.full((12, 12, 3), number, np.uint8)


@pytest.fixture
def ask(card):
    """Class or reason of each content, and the questions that this took."""

    def make(*contents, takes_files=True, before=lambda _question: None, max_pixels=1000):
        transport = Knowing(before)
        model = ServedModel(transport, "tiny", card, batch=8, patience=1, takes_files=takes_files)  # type: ignore[arg-type]
        named = [Named(f"{place}", content) for place, content in enumerate(contents)]
        results = answers(model, named, 1, max_pixels=max_pixels)
        assert [result.file for result in results] == [name for name, _ in named]
        assert all(result.version == (0 if result.error else 3) and result.model == "tiny" for result in results)
        return [result.error or result.top[0].index for result in results], transport.questions

    return make


def test_files_go_as_they_are_in_one_request(ask):
    found, questions = ask(file(1), file(2), file(3))
    assert found == [1, 2, 3]
    (question,) = questions
    assert (question.model, question.input_name, question.input_type) == ("tiny_image", "encoded", "BYTES")
    assert (question.version_name, question.classes) == ("version", 1)
    assert question.batch.tolist() == [[file(1)], [file(2)], [file(3)]]


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        ([BAD], [REASON]),
        ([file(1), BAD, file(3)], [1, REASON, 3]),
        ([BAD, file(2), BAD], [REASON, 2, REASON]),
        ([BAD, BAD, BAD], [REASON, REASON, REASON]),
        ([file(1), "missing.jpg", file(3)], [1, "No such file or directory", 3]),
    ],
)
def test_a_bad_file_is_left_out_and_the_others_are_asked_again(ask, contents, expected):
    found, questions = ask(*contents)
    assert found == expected
    assert len(questions) <= contents.count(BAD) + 1


def test_images_and_arrays_go_as_pixels_beside_files(ask):
    found, questions = ask(file(1), pixels(2), file(3), Image.fromarray(pixels(4)), BAD)
    assert found == [1, 2, 3, 4, REASON]
    assert {question.model for question in questions} == {"tiny", "tiny_image"}
    assert questions[-1].batch.shape == (2, 8, 8, 3)


def test_where_no_files_are_taken_the_client_decodes(ask):
    png = io.BytesIO()
    Image.fromarray(pixels(5)).save(png, "PNG")
    found, (question,) = ask(png.getvalue(), b"hello", pixels(6), takes_files=False)
    assert found[::2] == [5, 6]
    assert found[1].startswith("found a text file")
    assert (question.model, question.version_name) == ("tiny", "")


def test_the_largest_picture_is_a_setting(ask):
    found, _ = ask(pixels(1), takes_files=False, max_pixels=100)
    assert "MAX_PIXELS" in found[0]


def test_nothing_is_asked_where_nothing_can_be_read(ask):
    assert ask("", "missing.jpg")[1] == []


def test_a_request_is_not_too_long(ask, monkeypatch):
    monkeypatch.setattr(module, "REQUEST_BYTES", 100)
    found, questions = ask(file(1, 60), file(2, 60), file(3, 30), file(4, 200), file(5, 4), BAD)
    assert found == [1, 2, 3, 4, 5, REASON]
    assert {tuple(len(row[0]) for row in question.batch) for question in questions} == {(60,), (60, 30), (200,), (4, 6), (4,)}


@pytest.mark.parametrize("said", ["unexpected shape for input", "picture 9 of 2: no such place", "picture 0 of 2: nor this"])
def test_another_refusal_is_no_picture_s(ask, said):
    def refuse(_question):
        raise RefusedError(f"refuses: {said}", said)

    with pytest.raises(RefusedError, match="refuses"):
        ask(file(1), file(2), before=refuse)


def test_what_is_no_picture_is_not_even_sent(ask):
    found, questions = ask(b"words", file(1))
    assert found == ["found a text file, expected a JPEG, PNG, WebP, GIF, BMP, TIFF, PNM, AVIF or JPEG 2000 picture", 1]
    assert [len(question.batch) for question in questions] == [1]
