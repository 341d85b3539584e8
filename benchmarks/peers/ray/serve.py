"""Ray Serve: the file is the body; each replica decodes in threads and gathers a batch."""

import asyncio
from typing import Any

import ray  # type: ignore[import-not-found]
from ray import serve
from starlette.requests import Request  # type: ignore[import-not-found]

from benchmarks.peers.classifier import BATCH, BATCH_SECONDS, PORT, WORKERS, Classifier


@serve.deployment(num_replicas=WORKERS or 1)
class Pictures:
    """One picture a request."""

    def __init__(self) -> None:
        self._classifier = Classifier()

    @serve.batch(max_batch_size=BATCH or 1, batch_wait_timeout_s=BATCH_SECONDS)  # type: ignore[untyped-decorator]
    async def _together(self, batch: list[Any]) -> list[dict[str, Any]]:
        return await asyncio.to_thread(self._classifier.answers, batch)

    def _alone(self, picture: bytes) -> dict[str, Any]:
        return self._classifier.answers([self._classifier.decoded(picture)])[0]

    async def __call__(self, request: Request) -> Any:
        """The best label."""
        picture = await request.body()
        if not BATCH:
            return await asyncio.to_thread(self._alone, picture)
        return await self._together(await asyncio.to_thread(self._classifier.decoded, picture))


if __name__ == "__main__":
    ray.init(include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": PORT})
    serve.run(Pictures.bind(), route_prefix="/classify", blocking=True)  # type: ignore[attr-defined]
