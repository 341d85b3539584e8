"""BentoML: the file is the body. With batching, its way: a service of its own runs the batches, and one before it decodes."""

from typing import Annotated, Any

import bentoml  # type: ignore[import-not-found]
import numpy as np
from bentoml.validators import ContentType  # type: ignore[import-not-found]
from PIL.Image import Image

from benchmarks.peers.classifier import BATCH, WORKERS, Classifier

Picture = Annotated[Image, ContentType("image/jpeg")]


@bentoml.service(workers=WORKERS or 1)  # type: ignore[untyped-decorator]
class Alone:
    """Decodes and runs one picture a request."""

    def __init__(self) -> None:
        self._classifier = Classifier()

    @bentoml.api  # type: ignore[untyped-decorator]
    def classify(self, picture: Picture, /) -> dict[str, Any]:
        """The best label."""
        return self._classifier.answers([self._classifier.pixels(picture)])[0]


@bentoml.service(workers=WORKERS or 1)  # type: ignore[untyped-decorator]
class Engine:
    """Runs what is decoded; adaptive batching."""

    def __init__(self) -> None:
        self._classifier = Classifier()

    @bentoml.api(batchable=True, max_batch_size=max(2, BATCH))  # type: ignore[untyped-decorator]
    def answers(self, pixels: np.ndarray) -> list[dict[str, Any]]:  # type: ignore[type-arg]
        """The best label of each; UINT8 ``[N, crop, crop, 3]``."""
        return self._classifier.answers(list(pixels))


@bentoml.service  # type: ignore[untyped-decorator]
class Decoded:
    """Decodes in front of ``Engine``."""

    engine = bentoml.depends(Engine)

    def __init__(self) -> None:
        self._classifier = Classifier()

    @bentoml.api  # type: ignore[untyped-decorator]
    async def classify(self, picture: Picture, /) -> dict[str, Any]:
        """The best label."""
        answers = await self.engine.to_async.answers(pixels=self._classifier.pixels(picture)[np.newaxis])
        answer: dict[str, Any] = answers[0]
        return answer


Service = Decoded if BATCH else Alone
