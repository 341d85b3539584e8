"""A transport that knows what the last byte of a file, or the first pixel, says, and may fail."""

import threading
from collections.abc import Callable

import numpy as np

from services.client.protocol import Answer, Question, RefusedError


class Knowing:
    """Its answer about a picture is the class of that value; ``before`` is called with every question."""

    where = "http://here"

    def __init__(self, before: Callable[[Question], None] = lambda _question: None) -> None:
        self.before = before
        self.questions: list[Question] = []
        self.under_way = self.most_under_way = self.closed = 0
        self._lock = threading.Lock()

    def infer(self, question: Question) -> Answer:
        with self._lock:
            self.questions.append(question)
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            self.before(question)
            if question.input_type == "BYTES":
                files = list(question.batch[:, 0])
                bad = [place for place, file in enumerate(files, 1) if file.endswith(b"bad")]
                if bad:
                    said = f"picture {bad[0]} of {len(files)}: picture: found nonsense"
                    raise RefusedError(f"refuses: {said}", said)
                classes = [file[-1] for file in files]
            else:
                classes = [int(row.flat[0]) for row in question.batch]
            return Answer(3, np.array([[f"0.9:{index}:cat".encode()] for index in classes], np.object_))
        finally:
            with self._lock:
                self.under_way -= 1

    def __enter__(self) -> "Knowing":
        return self

    def __exit__(self, *_: object) -> None:
        self.closed += 1
