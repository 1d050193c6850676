"""Explanations on the log: asked for by a gateway, worked on by an explainer, read until they expire.

One that is done is kept with the words of its text, as long as an answer is; the stream that lasts longer holds none.
"""

from typing import Any, Final, Literal, cast

import orjson
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from broker.answers import owner_suffix, split_owner
from broker.errors import MalformedEntryError, NewerSchemaError
from broker.events import Explained, ExplainRequest, Request
from broker.scripts import Scripts
from broker.settings import BrokerSettings
from broker.streams import EXPLAINERS, PredictionId, Tag

MOST_WAITING: Final = 32
MOST_KEPT: Final = 1000  # entries of the stream without words
MARK_S: Final = 15  # an explainer not heard of for this long is gone
PAGE: Final = 500
NEAR_MS: Final = ((-100, 2_000), (-60_000, -100), (2_000, 60_000))  # where an entry lies beside its id's own time

Asked = Literal["known", "accepted", "absent", "full"]


class Explanations:
    """The explanations of all models, as seen by who asks for one and by who makes it."""

    def __init__(self, redis: Redis, settings: BrokerSettings) -> None:
        self._redis = redis
        self._scripts = Scripts(redis)
        self._kept_s = settings.answer_retention_s

    async def ask(self, tag: Tag, request: ExplainRequest, key: str | None = None) -> Asked:
        """Put *request* on the log unless it was asked before, nobody would answer, or too many wait.

        *key* is the id of the API key that the explanation belongs to.
        """
        keys = [tag.explained(request.id), tag.explain, tag.explainer]
        state = _state("pending", progress=0.0) + owner_suffix(key).encode()
        arguments = [state, self._kept_s, MOST_WAITING, *_flat(request)]
        return cast("Asked", (await self._scripts("explain", keys, arguments)).decode())

    async def find(self, explanation: PredictionId) -> tuple[dict[str, Any], str | None] | None:
        """Return an explanation and the id of the API key that it belongs to, None where there is no such key.

        The explanation is its ``status`` and, once it is done, the whole of it.
        """
        stored: Any = await self._redis.get(explanation.tag.explained(str(explanation)))
        document, key = split_owner(stored or b"null")
        try:
            found = orjson.loads(document)
        except ValueError:  # what another program wrote counts as absent
            return None
        return (found, key) if isinstance(found, dict) else None

    async def tell_progress(self, tag: Tag, explanation: str, progress: float) -> None:
        """Say how far it is, from 0 to 1; nothing of one that was forgotten."""
        state = _state("pending", progress=round(progress, 3))
        await self._scripts("progress", [tag.explained(explanation)], [state])

    async def finish(self, tag: Tag, entry_id: str, event: Explained, document: dict[str, Any]) -> bool:
        """Publish *document* and *event*, delete the text; false where somebody else did, or it was forgotten."""
        keys = [tag.explain, tag.explained(event.id), tag.explanations]
        what = [EXPLAINERS, entry_id, orjson.dumps(document), self._kept_s, MOST_KEPT, *_flat(event)]
        return bool(await self._scripts("explained", keys, what))

    async def announce(self, tag: Tag, explainer: str) -> None:
        """Say that *explainer* works for *tag*; to be repeated well within `MARK_S` seconds."""
        await self._redis.set(tag.explainer, explainer, ex=MARK_S)

    async def ensure_group(self, tag: Tag) -> None:
        """Create the group that explains where it is missing."""
        try:
            await self._redis.xgroup_create(tag.explain, EXPLAINERS, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise


async def find_request(redis: Redis, wanted: PredictionId) -> Request | None:
    """Return the request of a prediction, as long as the log holds it near the time that its id names."""
    for first, last in NEAR_MS:
        start, end = f"{max(0, wanted.time_ms + first)}", f"{max(0, wanted.time_ms + last)}"
        while True:
            page: Any = await redis.xrange(wanted.tag.requests, start, end, PAGE)
            for entry_id, fields in page:
                named = fields.get(b"id", b"").decode(errors="replace")
                if (named or str(PredictionId.of_entry(wanted.tag, entry_id.decode()))) == str(wanted):
                    return _read(wanted.tag, entry_id.decode(), fields)
            if len(page) < PAGE:
                break
            start = f"({page[-1][0].decode()}"
    return None


def _read(tag: Tag, entry_id: str, fields: dict[bytes, bytes]) -> Request | None:
    try:
        return Request.from_entry(tag, entry_id, fields)
    except (MalformedEntryError, NewerSchemaError):
        return None


def _state(status: str, **members: float) -> bytes:
    return orjson.dumps({"status": status, **members})


def _flat(event: ExplainRequest | Explained) -> list[str]:
    return [part for pair in event.to_fields().items() for part in pair]
