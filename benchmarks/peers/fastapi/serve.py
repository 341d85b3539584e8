"""FastAPI: the file is the body, and a function that is not ``async`` runs in a thread of its own."""

from typing import Annotated, Any

from fastapi import Body, FastAPI  # type: ignore[import-not-found]

from benchmarks.peers.classifier import Classifier

app = FastAPI()
classifier = Classifier()


@app.get("/health")  # type: ignore[untyped-decorator]
def health() -> None:
    """Answers when the model is loaded."""


@app.post("/classify")  # type: ignore[untyped-decorator]
def classify(picture: Annotated[bytes, Body(media_type="image/jpeg")]) -> dict[str, Any]:
    """The best label."""
    return classifier.answers([classifier.decoded(picture)])[0]
