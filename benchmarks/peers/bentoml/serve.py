"""BentoML: the file is the body; with adaptive batching, which takes lists, it is a form's only file."""

from typing import Annotated, Any

import bentoml  # type: ignore[import-not-found]
from bentoml.validators import ContentType  # type: ignore[import-not-found]
from PIL.Image import Image

from benchmarks.peers.classifier import BATCH, WORKERS, Classifier

Picture = Annotated[Image, ContentType("image/jpeg")]


@bentoml.service(workers=WORKERS or 1)
class Alone:
    """One picture at a time."""

    def __init__(self) -> None:
        self._classifier = Classifier()

    @bentoml.api  # type: ignore[untyped-decorator]
    def classify(self, picture: Picture, /) -> dict[str, Any]:
        """The best label."""
        return self._classifier.answers([self._classifier.pixels(picture)])[0]


@bentoml.service(workers=WORKERS or 1)
class Together:
    """What requests have brought meanwhile, at once."""

    def __init__(self) -> None:
        self._classifier = Classifier()

    @bentoml.api(batchable=True, max_batch_size=max(2, BATCH))  # type: ignore[untyped-decorator]
    def classify(self, pictures: list[Picture]) -> list[dict[str, Any]]:
        """The best label of each."""
        return self._classifier.answers([self._classifier.pixels(picture) for picture in pictures])


Service = Together if BATCH else Alone
