"""``<model>_image``: pictures as files in, scores out. Decodes them, and asks ``<model>`` for the scores (Triton's Python backend, BLS).

Not an ensemble: while ``<model>`` is replaced, an ensemble could hand pixels made for one version to the next. Here each question names
its version, and is asked again where that version has gone. API: ``README.md`` of triton-inference-server/python_backend.
"""

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils

from services.core import cpus
from services.core.card import Preprocessing
from services.core.errors import ImageError, StackError, ToolError
from services.core.published import ENCODED, VERSION
from services.images.decode import own_pillow
from services.images.preprocess import InputArray
from services.triton.decoder import Decoder, Picture
from services.triton.gpu_decoder import decoder
from services.triton.models import regions
from services.triton.published import Published

MOST_WORKERS = 16
"""Of all instances, where no setting says otherwise; in each, large pictures are unpacked one at a time (``services.images.cost``)."""


@dataclass
class Refusal:
    """Why a request gets no scores; ``code`` is one of ``pb_utils.TritonError``'s."""

    message: str
    code: Any

    def response(self) -> Any:
        """A new object each time: the server frees it once per response."""
        return pb_utils.InferenceResponse(error=pb_utils.TritonError(self.message, self.code))


@dataclass
class Question:
    """The pictures of one request, and the inputs that were made of them, or why that failed."""

    pictures: list[Picture]
    inputs: list[InputArray] = field(default_factory=list)
    refusal: Refusal | None = None

    def take(self, decoded: Sequence[InputArray | ImageError]) -> None:
        """Keep what decoding gave, one entry per picture."""
        self.inputs = [found for found in decoded if not isinstance(found, ImageError)]
        if bad := next((found for found in decoded if isinstance(found, ImageError)), None):
            self.refusal = Refusal(str(bad), pb_utils.TritonError.INVALID_ARG)


class TritonPythonModel:
    """One execution instance; the scheduler hands it all requests of a dynamic batch at once."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read what the builder has written into the config."""
        regions.make_private()
        own_pillow()
        config = json.loads(args["model_config"])
        told = {name: value["string_value"] for name, value in config["parameters"].items()}
        self._folder = Path(args["model_repository"]).parent / told["model"]
        self._labels_sha256 = told["labels_sha256"]
        self._output = config["output"][0]["name"]
        found, instances = cpus.find(), sum(group["count"] * max(1, len(group.get("gpus", []))) for group in config["instance_group"])
        workers = int(told["decode_workers"]) or max(1, min(found.number, MOST_WORKERS) // instances)
        pb_utils.Logger.log_info(f"{config['name']}: {found}, instances: {instances}, each with {workers} threads that decode")
        cpu = Decoder(workers, int(told["max_pixels"]), int(told["max_image_bytes"]))
        asked, device = told.get("decoder", "cpu"), int(args["model_instance_device_id"])
        try:
            self._decoder = decoder(asked, cpu, device, workers, pb_utils.Logger.log_warn)
        except ToolError as error:
            raise pb_utils.TritonModelException(f"DECODER=gpu: {error}") from error
        self._answered: Published | None = None

    def finalize(self) -> None:
        """End the threads."""
        self._decoder.close()

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer all requests; each gets its own rows or its own error."""
        questions = [_question(request) for request in requests]
        out = Refusal(f"{self._folder.name} is not in service", pb_utils.TritonError.UNAVAILABLE)
        refusal, decoded_as = out, None
        try:
            for version in self._versions():
                if version.card.labels_sha256 != self._labels_sha256:
                    message = f"{self._folder.name} was replaced by a version with other classes; where that lasts, run the builder again"
                    refusal = Refusal(message, pb_utils.TritonError.UNAVAILABLE) if refusal is out else refusal
                    continue
                if decoded_as != version.card.preprocessing:
                    decoded_as = version.card.preprocessing
                    self._decode(questions, decoded_as)
                good = [question for question in questions if not question.refusal]
                answers = self._ask(version, [tensor for question in good for tensor in question.inputs]) if good else np.empty(0)
                if not isinstance(answers, Refusal):
                    self._answered = version
                    return self._responses(questions, version.number, answers)
                refusal = answers if refusal is out else refusal  # the first says most
        except FileNotFoundError:
            refusal = out
        except (StackError, OSError) as error:
            refusal = Refusal(f"{self._folder.name} cannot be asked: {error}", pb_utils.TritonError.UNAVAILABLE)
        return [(question.refusal or refusal).response() for question in questions]

    def _versions(self) -> Iterator[Published]:
        """Whom to ask: the version that answered last; if it does not, the one that is live by now; then the others, newest first.

        A version that is being published is live on disk before the server has loaded it, and the server has no version but one.
        """
        last = self._answered if self._answered and self._answered.is_as_read(self._folder) else None
        if last:
            yield last
        live = Published.live(self._folder)
        if not last or (live.number, live.modified) != (last.number, last.modified):
            yield live
        others = (int(path.name) for path in self._folder.glob("[0-9]*") if path.name.isdecimal())
        for number in sorted(others, reverse=True):
            if number not in (live.number, last.number if last else 0):
                with contextlib.suppress(StackError, OSError):
                    yield Published.read(self._folder, number)

    def _decode(self, questions: Sequence[Question], preprocessing: Preprocessing) -> None:
        decoded = iter(self._decoder.decode([picture for question in questions for picture in question.pictures], preprocessing))
        for question in questions:
            if question.pictures:
                question.take([next(decoded) for _ in question.pictures])

    def _ask(self, version: Published, inputs: Sequence[InputArray]) -> npt.NDArray[Any] | Refusal:
        """Scores FP32 ``[N,classes]`` of one version, in batches that it takes."""
        card, size = version.card, version.record.max_batch
        parts: list[npt.NDArray[Any]] = []
        for start in range(0, len(inputs), size):
            request = pb_utils.InferenceRequest(
                model_name=self._folder.name,
                model_version=version.number,
                inputs=[pb_utils.Tensor(card.input.name, np.stack(inputs[start : start + size]))],
                requested_output_names=[card.output.name],
                preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0),
            )
            response = request.exec()
            if response.has_error():
                return Refusal(response.error().message(), pb_utils.TritonError.UNAVAILABLE)
            parts.append(pb_utils.get_output_tensor_by_name(response, card.output.name).as_numpy())
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _responses(self, questions: Sequence[Question], version: int, scores: npt.NDArray[Any]) -> list[Any]:
        responses, start = [], 0
        for question in questions:
            if question.refusal:
                responses.append(question.refusal.response())
                continue
            rows = scores[start : start + len(question.pictures)]
            start += len(rows)
            tensors = [
                pb_utils.Tensor(self._output, np.ascontiguousarray(rows)),
                pb_utils.Tensor(VERSION, np.full((len(rows), 1), version, np.int64)),
            ]
            responses.append(pb_utils.InferenceResponse(tensors))
        return responses


def _question(request: Any) -> Question:
    array = pb_utils.get_input_tensor_by_name(request, ENCODED).as_numpy()
    if not array.size:
        expected = "[N, 1] with N of at least 1"
        message = f"{ENCODED} has the shape {list(array.shape)}, expected {expected}"
        return Question([], refusal=Refusal(message, pb_utils.TritonError.INVALID_ARG))
    return Question([Picture(f"picture {number} of {len(array)}", content) for number, content in enumerate(array.ravel(), 1)])
