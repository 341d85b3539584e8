"""The client library, from a file to a label: ``Classifier.classify`` over a folder of photographs, as a program would use it."""

import contextlib
import dataclasses
import itertools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from benchmarks.load import connect
from benchmarks.published import Published, Question
from services.client import Classifier, Result
from services.core.errors import AccuracyError, ContractError
from services.images.find import images_in
from services.images.preprocess import input_from_file

MOST = 64
"""Photographs that are taken of a folder."""
TOP = 5


@dataclasses.dataclass(frozen=True)
class Photograph:
    """A file, and its scores FP32 ``[1, classes]``."""

    path: Path
    data: bytes
    scores: npt.NDArray[np.float32]


def photographs(folder: Path, published: Published, protocol: str, address: str) -> list[Photograph]:
    """The photographs of a folder with the scores that the served model gives for their pixels, prepared here.

    The model itself is held against the golden set; so what takes files is held against what is known to be right, whatever the engine.

    Raises:
        ContractError: there are none.
        ServerError: the model does not answer.
        ImageError: one cannot be read.
    """
    found = images_in(folder)[:MOST]
    if not found:
        raise ContractError(f"no picture in {folder}", hint="name a folder of photographs: --pictures FOLDER")
    known = []
    for path in found:
        data = path.read_bytes()
        pixels = input_from_file(data, published.card.preprocessing, path.name)
        question = dataclasses.replace(published.question(0), data=pixels.tobytes())
        with contextlib.closing(connect(protocol, address, question)) as client:
            scores = np.frombuffer(client.answer(client.exchange()), np.float32)
        known.append(Photograph(path, data, scores.reshape(1, -1)))
    return known


def speed(
    url: str, published: Published, known: Sequence[Photograph], *, send: Literal["file", "pixels"], seconds: float
) -> tuple[int, float]:
    """How many photographs were classified, and in how many seconds.

    Raises:
        ServerError: the server refuses.
        AccuracyError: an answer is wrong.
    """
    with Classifier(url, published.config.name, send=send) as classifier:
        # A round of warming up opens its connections.
        for photograph, result in zip(known, classifier.classify([one.path for one in known], top=TOP), strict=True):
            check(result, photograph, published)
        start = time.monotonic()

        def until_the_end() -> Iterator[Path]:
            paths = itertools.cycle(one.path for one in known)
            return itertools.takewhile(lambda _: time.monotonic() < start + seconds, paths)

        results = list(classifier.classify(until_the_end(), top=TOP))
        elapsed = time.monotonic() - start
    for photograph, result in zip(itertools.cycle(known), results, strict=False):
        check(result, photograph, published)
    return len(results), elapsed


def check(result: Result, known: Photograph, published: Published) -> None:
    """Compare the best classes with the known scores.

    Raises:
        AccuracyError: they are others, or there are none.
    """
    limit = published.limits.max_error_tolerance
    if result.error or not result.top:
        raise AccuracyError(f"{known.path.name}: {result.error or 'no class'}, expected an answer")
    for best in result.top:
        expected = float(known.scores[0, best.index])
        if not abs(best.score - expected) <= limit:
            raise AccuracyError(f"{known.path.name}: class {best.index} scores {best.score:.3g}, expected {expected:.3g}")
    if float(known.scores.max()) - float(known.scores[0, result.top[0].index]) > limit:
        raise AccuracyError(f"{known.path.name}: best class {result.top[0].index}, expected {int(known.scores.argmax())}")


def question_of(photograph: Photograph, published: Published) -> Question:
    """For the load generators."""
    return published.file_question(photograph.data, photograph.scores)
