"""MLServer: a custom runtime; pictures come as the KServe protocol's BYTES, in JSON as base64."""

from mlserver import MLModel  # type: ignore[import-not-found]
from mlserver.codecs import Base64Codec, StringCodec  # type: ignore[import-not-found]
from mlserver.types import InferenceRequest, InferenceResponse  # type: ignore[import-not-found]

from benchmarks.peers.classifier import Classifier


class Pictures(MLModel):  # type: ignore[misc]
    """One or more pictures a request."""

    async def load(self) -> bool:
        """Once in each worker."""
        self._classifier = Classifier()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """The best label of each."""
        pictures = [self._classifier.decoded(file) for file in Base64Codec.decode_input(payload.inputs[0])]
        labels = [answer["label"] for answer in self._classifier.answers(pictures)]
        return InferenceResponse(model_name=self.name, outputs=[StringCodec.encode_output("label", labels)])
