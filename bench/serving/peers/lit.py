"""LitServe with two workers and batching."""

import sys
from collections.abc import Sequence
from typing import Any

import litserve as ls

from bench.serving.peers.core import BATCH, WAIT_S, Core


class Api(ls.LitAPI):
    """The model behind LitServe's batching."""

    def setup(self, device: str) -> None:  # noqa: ARG002 LitServe's signature
        """Load the model once a worker."""
        self.core = Core()

    def decode_request(self, request: dict[str, Any]) -> str:
        """Return the text."""
        text: str = request["text"]
        return text

    def batch(self, inputs: Sequence[str]) -> Sequence[str]:
        """Keep texts as a list."""
        return inputs

    def predict(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """Classify a batch."""
        return self.core.answers(texts)

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """One answer a request."""
        return output

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """Send the answer as it is."""
        return output


if __name__ == "__main__":
    server = ls.LitServer(
        Api(max_batch_size=BATCH, batch_timeout=WAIT_S), accelerator="cpu", devices=1, workers_per_device=2
    )
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, generate_client_file=False, log_level="error"
    )
