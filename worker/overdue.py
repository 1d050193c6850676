"""Requests that were accepted and that no reader has any more: answered once their deadline has passed.

A group's position may be moved past entries that nobody read: by hand, by a restore, by a fail-over that lost the last
second. Nothing is late then, by lag and backlog, and nobody would ever answer.
"""

import logging
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from broker.errors import MalformedEntryError, NewerSchemaError
from broker.events import Request
from broker.settlement import Settlement
from broker.waiting import Waiting, waiting_page
from worker.handler import Arrival
from worker.metrics import UNANSWERED
from worker.serving import Serving

AT_ONCE = 100  # that one script settles
GONE = "-"  # the text of a request whose entry has gone; nothing reads it

logger = logging.getLogger(__name__)


class Overdue:
    """Looks through one tag's waiting requests, a page a round."""

    def __init__(self, redis: Redis, serving: Serving) -> None:
        self._redis = redis
        self._serving = serving
        self._cursor = 0
        self._unanswered = UNANSWERED.labels(serving.tag.model)

    async def look(self) -> None:
        """Answer those of the next page that are overdue; what the group has, or will get, is left to it."""
        self._cursor, page = await waiting_page(self._redis, self._serving.tag, self._cursor)
        means = self._serving.means
        late = [one for one in page if one.is_overdue(means.clock.now_ms(), means.settings)]
        for start in range(0, len(late), AT_ONCE):
            await self._settle(late[start : start + AT_ONCE])

    async def _settle(self, late: Sequence[Waiting]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for one in late:
            pipeline.xrange(self._serving.tag.requests, one.entry_id, one.entry_id)
        entries = await pipeline.execute()
        settlements = [self._ended(one, found) for one, found in zip(late, entries, strict=True)]
        if answered := sum(await self._serving.settle(settlements)):
            self._unanswered.inc(answered)
            logger.error(
                "no reader had them any more: answered deadline_exceeded",
                extra={"model": self._serving.tag.model, "requests": answered},
            )

    def _ended(self, one: Waiting, found: Any) -> Settlement:
        arrival = Arrival(one.entry_id, self._request(one, found), deliveries=0)
        ended = self._serving.handler.failed(arrival, "deadline_exceeded")
        return Settlement(ended.entry_id, ended.request, ended.result, ended.answer, overdue=one.stored)

    def _request(self, one: Waiting, found: Any) -> Request:
        """Return what the log says of it; where that is nothing, who waits and its tags are not known."""
        for entry_id, fields in found:
            try:
                request = Request.from_entry(self._serving.tag, entry_id.decode(), fields)
            except (MalformedEntryError, NewerSchemaError):
                continue
            if request.id == str(one.id):
                return request
        return Request(id=str(one.id), text=GONE)
