"""BentoML with two workers and adaptive batching."""

from typing import Any

import bentoml

from bench.serving.peers.core import BATCH, Core


@bentoml.service(
    workers=2,
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    traffic={"timeout": 60, "max_concurrency": 1024},
)
class Sentiment:
    """The model behind BentoML's dispatcher."""

    def __init__(self) -> None:
        self.core = Core()

    @bentoml.api(batchable=True, max_batch_size=BATCH, max_latency_ms=1000)
    def predict(self, text: list[str]) -> list[dict[str, Any]]:
        """Classify a batch."""
        return self.core.answers(text)
