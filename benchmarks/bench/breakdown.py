"""Where the time of a request goes, from the server's statistics before and after a measurement.

Triton's statistics count nanoseconds for each request (``GET /v2/models/<model>/stats``; docs/protocol/extension_statistics.md of
triton-inference-server/server). In those of ``<model>_image``, ``compute_infer`` holds all the time of ``<model>``, which it asks: what
is left is decoding, with the overhead of asking. It asks for several of its requests in one, which all wait for it as long; so the times
of ``<model>`` are means over pictures there, not over requests.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from benchmarks.bench.figures import MILLI, short

PARTS = ("queue", "decode", "input", "compute", "output", "other", "wire")
"""``other`` is what the server does besides, ``wire`` what the client waits longer than the server takes."""
_COMPUTE = ("compute_input", "compute_infer", "compute_output")
_NANO = 1e-9


@dataclass(frozen=True)
class Counters:
    """What a model's statistics have counted; times are in nanoseconds.

    ``requests`` and ``times`` are over requests (``success`` is the whole of each); ``pictures`` and ``by_picture`` are over pictures,
    each of which took as long as the batch that it was in.
    """

    requests: int
    times: Mapping[str, int]
    pictures: int
    by_picture: Mapping[str, int]

    @classmethod
    def of(cls, stats: Mapping[str, Any]) -> Self:
        """From the server's answer, all versions of the model together."""
        requests = pictures = 0
        times = dict.fromkeys(("success", "queue", *_COMPUTE), 0)
        by_picture = dict.fromkeys(_COMPUTE, 0)
        for version in stats["model_stats"]:
            found = version["inference_stats"]
            requests += int(found["success"]["count"])
            for name in times:
                times[name] += int(found[name]["ns"])
            for batch in version.get("batch_stats", []):
                size = int(batch["batch_size"])
                pictures += size * int(batch["compute_infer"]["count"])
                for name in _COMPUTE:
                    by_picture[name] += size * int(batch[name]["ns"])
        return cls(requests, times, pictures, by_picture)

    def since(self, before: "Counters") -> "Counters":
        """What was counted after ``before``."""
        return Counters(
            self.requests - before.requests,
            {name: value - before.times[name] for name, value in self.times.items()},
            self.pictures - before.pictures,
            {name: value - before.by_picture[name] for name, value in self.by_picture.items()},
        )

    @property
    def whole(self) -> bool:
        """Whether there is something to divide by; a model that was loaded anew in between counts from 0 again."""
        return self.requests > 0 and self.pictures > 0 and min(*self.times.values(), *self.by_picture.values()) >= 0

    def per_request(self, name: str) -> float:
        """Mean seconds of a request."""
        return self.times[name] / self.requests * _NANO

    def per_picture(self, name: str) -> float:
        """Mean seconds that a picture waited for."""
        return self.by_picture[name] / self.pictures * _NANO


def breakdown(mean_seconds: float, model: Counters, image: Counters | None = None) -> dict[str, float]:
    """Mean milliseconds of a request by ``PARTS``, which together are what its client saw; nothing where the counters say nothing.

    Args:
        mean_seconds: that the clients waited for an answer.
        model: of ``<model>`` in the same time.
        image: of ``<model>_image``, where that was asked.
    """
    if not model.whole or (image and not image.whole):
        return {}
    asked = image or model
    parts = {
        "queue": model.per_request("queue"),
        "decode": 0.0,
        **{name.removeprefix("compute_"): (model.per_picture if image else model.per_request)(name) for name in _COMPUTE},
    }
    parts["compute"] = parts.pop("infer")
    if image:
        parts["decode"] = max(0.0, image.per_request("compute_infer") - sum(parts.values()))
        parts["queue"] += image.per_request("queue")
        parts["input"] += image.per_request("compute_input")
        parts["output"] += image.per_request("compute_output")
    parts["other"] = max(0.0, asked.per_request("success") - sum(parts.values()))
    parts["wire"] = max(0.0, mean_seconds - asked.per_request("success"))
    return {name: short(parts[name] * MILLI) for name in PARTS}
