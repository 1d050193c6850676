"""Two versions compared on demand, in a thread of its own beside the watching, from what the log says of them."""

import asyncio
import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis

from broker.comparison import document
from broker.connection import connect
from broker.streams import Tag, entry_time_ms
from broker.versus import Versus, read_versus
from monitor.asking import Question, time_of
from monitor.settings import MonitorSettings

MOST: Final = 50_000  # entries read of one stream
FRESH_S: Final = 5.0  # a comparison is given to everybody who asks within this time,
REST: Final = 10.0  # or within so many times as long as it took: a tenth of one core at most
KEPT: Final = 8  # comparisons at once
ROOM: Final = 0.8  # of `MOST`, aimed at when less is read instead


class OccupiedError(Exception):
    """Too many comparisons are asked for at once."""


@dataclass(slots=True)
class _Kept:
    task: asyncio.Task[dict[str, Any]]
    stale_s: float = math.inf  # on the monotonic clock, known when it is done


class Comparisons:
    """The comparisons that somebody looks at; one is computed at a time."""

    def __init__(self, settings: MonitorSettings) -> None:
        self._settings = settings
        self._thread = ThreadPoolExecutor(1, "compare")
        self._kept: dict[Question, _Kept] = {}

    async def find(self, question: Question, now_ms: float) -> dict[str, Any]:
        """Return the comparison as `broker.comparison.document` has it, with ``since_ms``, ``until_ms``, ``took_ms``.

        Raises:
            OccupiedError: `KEPT` others are asked for.
            RedisError, BrokerUnavailableError: the log cannot be read.

        """
        now_s = time.monotonic()
        self._kept = {one: kept for one, kept in self._kept.items() if now_s <= kept.stale_s}
        if question not in self._kept:
            if len(self._kept) >= KEPT:
                raise OccupiedError(f"{KEPT} other comparisons are being looked at; try again in some seconds")
            task = asyncio.create_task(self._compute(question, now_ms))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._kept[question] = _Kept(task)
        return await asyncio.shield(self._kept[question].task)

    async def _compute(self, question: Question, now_ms: float) -> dict[str, Any]:
        began_s = time.monotonic()
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._thread, lambda: asyncio.run(self._read(question, int(now_ms))))
        finally:
            took_s = time.monotonic() - began_s
            self._kept[question].stale_s = began_s + took_s + max(FRESH_S, REST * took_s)
        return found | {"took_ms": round(1000 * took_s)}

    async def _read(self, question: Question, now_ms: int) -> dict[str, Any]:
        """Read and compare; where there is more than `MOST`, begin later, as far as the rate of entries tells."""
        tags = [Tag(question.model, shard) for shard in range(self._settings.shards)]
        since_ms = time_of(question.since, now_ms) or 0
        redis = connect(self._settings, "monitor-compare")
        try:
            versus = await self._versus(redis, tags, question, since_ms, now_ms)
            if versus.reached_ms is not None:
                first_ms, last_ms = await _ends(redis, tags, since_ms)
                since_ms = last_ms - int(ROOM * (versus.reached_ms - first_ms))
                versus = await self._versus(redis, tags, question, since_ms, now_ms)
        finally:
            await redis.aclose()
            await redis.connection_pool.disconnect()
        return document(question.model, versus) | {"since_ms": since_ms, "until_ms": now_ms}

    @staticmethod
    async def _versus(redis: Redis, tags: list[Tag], question: Question, since_ms: int, until_ms: int) -> Versus:
        return await read_versus(redis, tags, (question.first, question.second), since_ms, until_ms, MOST)


async def _ends(redis: Redis, tags: list[Tag], since_ms: int) -> tuple[int, int]:
    """Return the times of the first entry since *since_ms* and of the last."""
    streams = [stream for tag in tags for stream in (tag.results, tag.feedback)]
    first: list[Any] = [await redis.xrange(stream, str(since_ms), "+", 1) for stream in streams]
    last: list[Any] = [await redis.xrevrange(stream, "+", "-", 1) for stream in streams]
    times = [[entry_time_ms(page[0][0].decode()) for page in pages if page] for pages in (first, last)]
    return min(times[0]), max(times[1])
