"""The AsyncAPI document of every stream: ``python -m worker.asyncapi > docs/asyncapi.json``."""

import json
import sys
from typing import Any, Final

from faststream.redis import RedisBroker, StreamSub
from faststream.specification import AsyncAPI
from pydantic import BaseModel

from broker.events import Alert, DeadLetter, Explained, ExplainRequest, Feedback, Request, Result
from broker.streams import CHANGES, Tag

TAG: Final = Tag("MODEL")
MODEL_PARAMETER: Final = (
    "A model, or MODEL/SHARD for a shard above 0. In the key the braces stay: they choose the cluster slot."
)


class Reply(BaseModel):
    """An answer addressed to the gateway process that waits for it."""

    id: str
    answer: str  # JSON, the bytes the caller receives


class VersionChanged(BaseModel):
    """The versions wanted of a model changed; the pointer file says to what."""

    model: str


READ: Final[dict[str, tuple[type[BaseModel], str]]] = {
    TAG.requests: (Request, "One text to classify. Written by gateways, or by hand with XADD; read by group workers."),
    TAG.explain: (
        ExplainRequest,
        "One text to explain. Written by gateways; deleted by the explainer with the result.",
    ),
    CHANGES: (VersionChanged, "A hint to look at the pointer files again."),
}
WRITTEN: Final[dict[str, tuple[type[BaseModel], str]]] = {
    TAG.results: (Result, "One prediction, or one error. Holds no text."),
    TAG.feedback: (Feedback, "One true label, joined with its prediction."),
    TAG.dead: (DeadLetter, "What could not be processed, why, and how often it was tried."),
    TAG.alerts: (Alert, "An alarm began or ended. Written by the monitor."),
    TAG.explanations: (Explained, "What came of one explanation. Written by the explainer; holds no word of the text."),
    TAG.replies("GATEWAY"): (Reply, "An answer addressed to the gateway process that waits for it."),
}


def document() -> dict[str, Any]:
    """Return the AsyncAPI 3.0 document of all streams."""
    bus = RedisBroker("redis://127.0.0.1:6380")
    for stream, (payload, description) in READ.items():
        _read_by_us(bus, stream, payload, description)
    for stream, (payload, description) in WRITTEN.items():
        bus.publisher(stream=stream, schema=payload, title=payload.__name__, description=description)
    specification = AsyncAPI(
        bus,
        title="Observa",
        version="1",
        description="Every request, answer, label and alarm is an entry of a Redis stream: flat fields.",
    ).to_specification()
    found: dict[str, Any] = json.loads(specification.to_json())
    for channel in found["channels"].values():
        if "{MODEL}" in channel["address"]:
            channel["parameters"] = {"MODEL": {"description": MODEL_PARAMETER}}
    return found


def _read_by_us(bus: RedisBroker, stream: str, payload: type[BaseModel], description: str) -> None:
    async def handler(message: Any) -> None:
        """Stand for the reader; nothing is received here."""

    handler.__annotations__ = {"message": payload, "return": None}
    bus.subscriber(stream=StreamSub(stream), title=payload.__name__, description=description)(handler)


if __name__ == "__main__":
    json.dump(document(), sys.stdout, indent=2, sort_keys=True)
    sys.stdout.write("\n")
