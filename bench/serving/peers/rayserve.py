"""Ray Serve with two replicas and batching."""

import sys
import threading
from typing import Any

import ray
from ray import serve
from starlette.requests import Request

from bench.serving.peers.core import BATCH, WAIT_S, Core


@serve.deployment(num_replicas=2, max_ongoing_requests=256, ray_actor_options={"num_cpus": 0.5})
class Sentiment:
    """The model behind Ray Serve's proxy."""

    def __init__(self) -> None:
        self.core = Core()

    @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=WAIT_S)
    async def classify(self, texts: list[str]) -> list[dict[str, Any]]:
        """Classify a batch."""
        return self.core.answers(texts)

    async def __call__(self, request: Request) -> dict[str, Any]:
        """Answer one call."""
        answer: dict[str, Any] = await self.classify((await request.json())["text"])
        return answer


if __name__ == "__main__":
    ray.init(include_dashboard=False, log_to_driver=False, num_cpus=2)
    serve.start(
        http_options={"host": "127.0.0.1", "port": int(sys.argv[1])}, logging_config={"enable_access_log": False}
    )
    serve.run(Sentiment.bind(), route_prefix="/predict")
    threading.Event().wait()
