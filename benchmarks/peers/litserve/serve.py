"""LitServe: the picture as base64 in JSON, as in its own examples; a worker decodes, gathers a batch, and runs it."""

import base64
from typing import Any

import litserve  # type: ignore[import-not-found]

from benchmarks.peers.classifier import BATCH, BATCH_SECONDS, PORT, WORKERS, Classifier


class Pictures(litserve.LitAPI):  # type: ignore[misc]
    """One picture a request."""

    def setup(self, device: str) -> None:
        """Once in each worker."""
        del device
        self._classifier = Classifier()

    def decode_request(self, request: dict[str, str]) -> Any:
        """Of one request."""
        return self._classifier.decoded(base64.b64decode(request["image"]))

    def batch(self, inputs: list[Any]) -> list[Any]:
        """As it is; the classifier stacks."""
        return inputs

    def predict(self, inputs: Any) -> list[dict[str, Any]]:
        """Of a batch, or of the one picture where there is no batching."""
        return self._classifier.answers(inputs if BATCH else [inputs])

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """One for each request."""
        return output

    def encode_response(self, output: Any) -> dict[str, Any]:
        """The best label."""
        answer: dict[str, Any] = output if BATCH else output[0]
        return answer


if __name__ == "__main__":
    batching = {"max_batch_size": BATCH, "batch_timeout": BATCH_SECONDS} if BATCH else {}
    workers = {"workers_per_device": WORKERS} if WORKERS else {}
    server = litserve.LitServer(Pictures(**batching), accelerator="cpu", **workers)
    server.run(host="127.0.0.1", port=PORT, log_level="warning", generate_client_file=False)
