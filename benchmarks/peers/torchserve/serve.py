"""TorchServe: the file is the body; a worker decodes a batch, and runs it."""

from typing import Any

from ts.torch_handler.base_handler import BaseHandler  # type: ignore[import-not-found]

from benchmarks.peers.classifier import Classifier


class Pictures(BaseHandler):  # type: ignore[misc]
    """A batch of requests at once."""

    def initialize(self, context: Any) -> None:
        """Once in each worker."""
        del context
        self._classifier = Classifier()
        self.initialized = True

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[dict[str, Any]]:
        """The best label of each."""
        del context
        return self._classifier.answers([self._classifier.decoded(bytes(request.get("body") or request["data"])) for request in data])
