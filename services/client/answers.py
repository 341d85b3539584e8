"""What a model says of a group of pictures: each has its own answer, or its own error."""

from collections.abc import Sequence

import numpy as np

from services.client.pictures import Named, file_of, is_file
from services.client.protocol import Answer
from services.client.report import Result
from services.client.served import BadPictureError, ServedModel, classes_of
from services.core.errors import ImageError
from services.images.decode import begins_like_a_picture, no_picture
from services.images.preprocess import InputArray, input_from_file

REQUEST_BYTES = 16 << 20
"""A request of several files is not longer: it lies in memory here and there, and servers have a bound of 64 MiB."""


def answers(model: ServedModel, pictures: Sequence[Named], top: int, *, max_pixels: int) -> list[Result]:
    """Ask for the best classes of a group of pictures, in one request if it can be.

    Args:
        model: whom to ask. Files go to it as they are where it takes files; pixels, and the rest, are prepared here.
        pictures: at most as many as the model takes at a time.
        top: how many classes.
        max_pixels: larger pictures are not decoded here.

    Returns:
        One result per picture, in their order.

    Raises:
        ServerError: the server refuses for another reason than one of the pictures, or went away.
    """
    group = _Group(model, pictures, top)
    tensors: dict[int, InputArray] = {}
    files: dict[int, bytes] = {}
    for place, (_, content) in enumerate(pictures):
        try:
            data = file_of(content)
            if not begins_like_a_picture(data):
                raise no_picture(data, "picture")  # no need to send it
            if not (model.takes_files and is_file(content)):
                tensors[place] = input_from_file(data, model.card.preprocessing, max_pixels=max_pixels)
                continue
        except ImageError as error:
            group.fail(place, str(error).removeprefix("picture: "))
            continue
        if sum(map(len, files.values())) + len(data) > REQUEST_BYTES:
            group.ask_files(files)
            files = {}
        files[place] = data
    group.ask_files(files)
    if tensors:
        group.take(list(tensors), model.ask(np.stack(list(tensors.values())), top))
    return [group.results[place] for place in range(len(pictures))]


class _Group:
    """Results by the places of their pictures."""

    def __init__(self, model: ServedModel, pictures: Sequence[Named], top: int) -> None:
        self._model, self._pictures, self._top = model, pictures, top
        self.results: dict[int, Result] = {}

    def ask_files(self, files: dict[int, bytes]) -> None:
        """Ask about files; one that the server cannot read is left out, and the rest is asked again."""
        left = dict(files)
        while left:
            try:
                answer = self._model.ask_files(list(left.values()), self._top)
            except BadPictureError as error:
                place = list(left)[error.index]
                del left[place]
                self.fail(place, str(error))
            else:
                self.take(list(left), answer)
                return

    def take(self, places: Sequence[int], answer: Answer) -> None:
        for place, row in zip(places, answer.output, strict=True):
            self.results[place] = Result(self._pictures[place].name, self._model.name, answer.version, classes_of(row))

    def fail(self, place: int, reason: str) -> None:
        self.results[place] = Result(self._pictures[place].name, self._model.name, error=reason)
