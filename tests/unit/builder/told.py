"""A server that only writes down what it is told."""

import numpy as np

from services.builder.repository import ModelFolder
from services.core.errors import ServerError

SCORES = np.eye(8, 4, dtype=np.float32)


class Told:
    """A server that has what it is told to load, and answers the golden scores or those it is given."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.batches: list[int] = []
        self.files: list[bytes] = []
        self.scores, self.refuses = SCORES, False
        self.folder: ModelFolder | None = None
        self.cannot = ""  # which model it cannot load
        self.image = ""  # fingerprint of the config that is loaded of tiny_image

    def load(self, name, version):
        self.calls.append(("load", name, version))
        if name == self.cannot:
            raise ServerError("it cannot")
        if name == "tiny_image":
            assert self.folder
            self.image = self.folder.image.fingerprint()

    def unload(self, name):
        self.calls.append(("unload", name))
        if self.refuses:
            raise ServerError("no")
        if name == "tiny_image":
            self.image = ""

    def is_ready(self, name, version):
        return ("load", name, version) in self.calls

    def parameter(self, name, parameter):
        assert (name, parameter) == ("tiny_image", "fingerprint")
        return self.image

    def infer(self, name, _version, inputs, output):
        assert output == "scores"
        if name == "tiny_image":
            assert inputs[0] == "encoded"
            start, count = len(self.files), len(inputs[1])
            self.files += list(inputs[1].ravel())
            return SCORES[start % 8 : start % 8 + count]
        start = sum(self.batches) % 8
        self.batches.append(len(inputs[1]))
        return self.scores[start : start + len(inputs[1])]
