"""Answers on their way back: one reader per log's reply stream, and the answer store for what did not come that way."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from broker.answers import PENDING
from broker.backoff import Backoff
from broker.connection import BLOCK_MS
from broker.duties import Duties, Pulse
from broker.log import Log
from broker.streams import PredictionId, Tag
from broker.wire import Line
from gateway.metrics import Metrics

LOST: Final = b""  # instead of an answer: nothing is known of the id any more
MOST_REPLIES: Final = 1000
SWEEP_S: Final = 0.1
OWN_EVERY_S: Final = 2.0  # our own ids come by the reply stream; the store is asked in case they did not
AGAIN_S: Final = 0.5  # most time to the next try while Redis is away: whoever waits for an answer waits as long
OTHERS_EVERY_S: Final = 0.1  # an id accepted elsewhere is answered elsewhere: only the store can tell

log = logging.getLogger(__name__)


class Replies:
    """Futures by prediction id. A future belongs to one caller and one id, so nobody gets another's answer."""

    def __init__(self, redis: Redis, log_: Log, metrics: Metrics, gateway_id: str, duties: Duties) -> None:
        self._redis = redis
        self._log = log_
        self._metrics = metrics
        self._gateway_id = gateway_id
        self._duties = duties
        self.pulse = Pulse()  # of the look-ups
        self._futures: dict[str, list[asyncio.Future[bytes | None]]] = {}
        self._accepted: dict[str, tuple[float, float]] = {}  # id: when to look it up, and how often
        self._listening: set[Tag] = set()

    def expecting(self, ids: Sequence[str]) -> "_Expected":
        """Give a future per id, each resolved with the answer's JSON or `LOST`; left alone at the end."""
        return _Expected(self, ids)

    def expect(self, ids: Sequence[str]) -> list[asyncio.Future[bytes | None]]:
        """Return a future per id; `forget` them in any case."""
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in ids]
        for prediction_id, future in zip(ids, futures, strict=True):
            self._futures.setdefault(prediction_id, []).append(future)
        return futures

    def accepted(self, ids: Iterable[str], *, elsewhere: bool = False) -> None:
        """Begin to look *ids* up: from now on they are in the answer store."""
        now = asyncio.get_running_loop().time()
        due, every = (now, OTHERS_EVERY_S) if elsewhere else (now + OWN_EVERY_S, OWN_EVERY_S)
        for prediction_id in ids:
            if prediction_id in self._futures:
                self._accepted[prediction_id] = (due, every)

    def listen(self, tag: Tag) -> None:
        """Read the replies of *tag* from now on; the stream is this process' own, so its beginning is not missed."""
        if tag not in self._listening:
            self._listening.add(tag)
            pulse = Pulse()
            self._duties.begin(self._read(tag, pulse), pulse)

    async def look_up_forever(self) -> None:
        """Ask the answer store for ids that are due, as long as the process runs."""
        backoff = Backoff(first_s=SWEEP_S, most_s=AGAIN_S)
        while True:
            await asyncio.sleep(SWEEP_S)
            self.pulse.beat()
            try:
                await self._look_up()
                backoff.reset()
            except (RedisError, OSError):
                self._metrics.broker_failures.labels("look_up").inc()
                await backoff.wait()

    async def _read(self, tag: Tag, pulse: Pulse) -> None:
        key, last, backoff = tag.replies(self._gateway_id), b"0-0", Backoff(most_s=AGAIN_S)
        line = Line(self._redis, blocks=True)
        while True:
            pulse.beat()
            try:
                found = await line("XREAD", "COUNT", MOST_REPLIES, "BLOCK", BLOCK_MS, "STREAMS", key, last)
            except (RedisError, OSError) as error:
                self._metrics.broker_failures.labels("replies").inc()
                log.warning("replies of %s cannot be read: %s", tag, type(error).__name__)
                await backoff.wait()
                last = b"0-0"  # another server's entries may be earlier than the last that was read
                self._look_all_up_now()
                continue
            backoff.reset()
            for _, entries in found or ():
                last = entries[-1][0]
                for _, flat in entries:
                    fields = dict(zip(flat[::2], flat[1::2], strict=True))
                    self._resolve(fields.get(b"id", b"").decode(errors="replace"), fields.get(b"answer", LOST))

    def _look_all_up_now(self) -> None:
        for prediction_id, (_, every) in self._accepted.items():
            self._accepted[prediction_id] = (0, every)

    async def _look_up(self) -> None:
        now = asyncio.get_running_loop().time()
        due = [prediction_id for prediction_id, (when, _) in self._accepted.items() if when <= now]
        if not due:
            return
        answers = await self._log.answers([PredictionId.parse(prediction_id) for prediction_id in due])
        for prediction_id, answer in zip(due, answers, strict=True):
            if answer != PENDING:
                self._resolve(prediction_id, answer or LOST)
            elif prediction_id in self._accepted:
                every = self._accepted[prediction_id][1]
                self._accepted[prediction_id] = (now + every, every)

    def _resolve(self, prediction_id: str, answer: bytes) -> None:
        for future in self._futures.get(prediction_id, ()):
            if not future.done():
                future.set_result(answer)
        self._accepted.pop(prediction_id, None)

    def forget(self, ids: Sequence[str], expected: Sequence[asyncio.Future[bytes | None]]) -> None:
        """Leave the futures of *ids* alone."""
        for prediction_id, future in zip(ids, expected, strict=True):
            future.cancel()
            futures = self._futures[prediction_id]
            futures.remove(future)
            if not futures:
                del self._futures[prediction_id]
                self._accepted.pop(prediction_id, None)


class _Expected:  # a generator would cost each call 5 us more
    __slots__ = ("_futures", "_ids", "_replies")

    def __init__(self, replies: Replies, ids: Sequence[str]) -> None:
        self._replies = replies
        self._ids = ids

    def __enter__(self) -> list[asyncio.Future[bytes | None]]:
        self._futures = self._replies.expect(self._ids)
        return self._futures

    def __exit__(self, *_: object) -> None:
        self._replies.forget(self._ids, self._futures)
