"""What every peer serves: the published graph in ONNX Runtime, and pictures prepared by Pillow as torchvision's transforms do it.

Runs in the peers' own environments: Pillow, numpy and ONNX Runtime, and nothing of this project. Settings come as ``PEER_*`` variables.
"""

import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from PIL import Image

PORT = int(os.environ.get("PEER_PORT", "8000"))
WORKERS = int(os.environ.get("PEER_WORKERS", "0"))
"""Processes that run the model; 0 where the server's own default is asked for."""
BATCH = int(os.environ.get("PEER_BATCH", "0"))
"""Requests that may run as one; 0 where the server's own default, no batching, is asked for."""
BATCH_SECONDS = 0.005
"""How long a request may wait for others where the server wants to be told."""


def centre(image: Image.Image, resize: int, crop: int, interpolation: str) -> Image.Image:
    """As torchvision's ``Resize`` and ``CenterCrop``: the short side becomes ``resize`` pixels, the centre of ``crop`` is cut out."""
    image, short = image.convert("RGB"), min(image.size)
    size = resize * image.width // short, resize * image.height // short
    image = image.resize(size, Image.Resampling[interpolation.upper()])
    left, top = round((image.width - crop) / 2), round((image.height - crop) / 2)
    return image.crop((left, top, left + crop, top + crop))


class Classifier:
    """The version folder ``PEER_MODEL``; ``PEER_THREADS`` and ``PEER_SPINNING`` are ONNX Runtime's, with its own defaults."""

    def __init__(self) -> None:
        folder = Path(os.environ["PEER_MODEL"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ.get("PEER_THREADS", "0"))
        options.add_session_config_entry("session.intra_op.allow_spinning", os.environ.get("PEER_SPINNING", "1"))
        self._session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
        self._labels = (folder / "labels.txt").read_text().splitlines()
        told = json.loads((folder / "card.json").read_text())["preprocessing"]
        self._resize, self._crop = told["resize"], told["crop"]
        self._how = told["interpolation"]

    def decoded(self, file: bytes) -> npt.NDArray[np.uint8]:
        """The content of a file, as ``pixels``."""
        return self.pixels(Image.open(io.BytesIO(file)))

    def pixels(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """A picture as the graph takes it, UINT8 ``[crop, crop, 3]``."""
        return np.asarray(centre(image, self._resize, self._crop, self._how))

    def answers(self, batch: Sequence[npt.NDArray[np.uint8]]) -> list[dict[str, Any]]:
        """The best label of each picture, and its score."""
        name = self._session.get_inputs()[0].name
        scores = self._session.run(None, {name: np.stack(batch)})[0]
        return [{"label": self._labels[best], "score": float(row[best])} for row, best in zip(scores, scores.argmax(1), strict=True)]
