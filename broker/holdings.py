"""What the log holds that may be given up when memory runs short: how much each kind takes, and taking its oldest off.

Not among it is what takes little: alerts, the monitor's state, announcements; and what goes by itself in a short time.
"""

from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Final, cast

from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from broker.inspection import entries_added
from broker.join_rows import HOUR_MS, bytes_of_a_row, drop_before, rows_by_hour
from broker.kept import give_up_before, given_up_before_ms
from broker.log import IDEMPOTENCY_S, LATE_S
from broker.pace import Pace
from broker.settings import BrokerSettings
from broker.stored import whole_numbers
from broker.streams import IDEM_SLOTS, Tag, entry_time_ms
from broker.trimming import trim, unfinished_since_ms

FRESH_MS: Final = 10_000  # what is younger is in use, and stays
MINUTE_MS: Final = 60_000
SLOT_MS: Final = (
    IDEMPOTENCY_S * 1000 // (IDEM_SLOTS - 2)
)  # so that the ring holds a day, the slot that is written apart


@dataclass(frozen=True, slots=True)
class Held:
    """What one kind of one model and shard takes, and between which times its oldest may be given up, Unix ms."""

    size: float  # bytes
    oldest_ms: int
    limit_ms: int  # what is younger stays
    rate: float  # bytes a second that come at present


class Holding(ABC):
    """One kind of one model and shard."""

    kind: ClassVar[str]
    retention_s: float  # after which it goes, however much room there is

    def __init__(self, redis: Redis, settings: BrokerSettings, tag: Tag) -> None:
        self._redis = redis
        self._settings = settings
        self._tag = tag
        self.retention_s = self._retention_s(settings)

    @staticmethod
    @abstractmethod
    def _retention_s(settings: BrokerSettings) -> float: ...

    @abstractmethod
    async def look(self, now_ms: int) -> Held | None:
        """Return what is held; None: nothing."""

    @abstractmethod
    async def cut(self, keep_from_ms: int) -> None:
        """Give up what is older."""


class Entries(Holding):
    """A stream."""

    def __init__(self, redis: Redis, settings: BrokerSettings, tag: Tag) -> None:
        super().__init__(redis, settings, tag)
        self._pace = Pace()

    @staticmethod
    def _retention_s(settings: BrokerSettings) -> float:
        return settings.results_retention_h * 3600

    async def look(self, now_ms: int) -> Held | None:
        """Return what is held; of requests, what the workers have not finished stays."""
        key = self._tag.key(self.kind)
        size, first = await self._redis.memory_usage(key), cast("Any", await self._redis.xrange(key, count=1))
        if not size or not first:
            return None
        limit_ms = now_ms - FRESH_MS
        if self.kind == "requests":
            limit_ms = min(limit_ms, await unfinished_since_ms(self._redis, self._tag) or limit_ms)
        length, oldest_ms = await self._redis.xlen(key), entry_time_ms(first[0][0].decode())
        per_second = self._pace.per_second(await entries_added(self._redis, key), now_ms)
        if per_second is None or not length:
            rate = size * 1000 / max(1000, now_ms - oldest_ms)
        else:
            rate = size / length * per_second
        return Held(size, oldest_ms, limit_ms, rate)

    async def cut(self, keep_from_ms: int) -> None:
        """Give up what is older."""
        await trim(self._redis, self._tag, self.kind, f"{keep_from_ms}-0")


class Requests(Entries):
    """Texts that were answered."""

    kind = "requests"

    @staticmethod
    def _retention_s(settings: BrokerSettings) -> float:
        return settings.text_retention_h * 3600


class Results(Entries):
    """What came of them."""

    kind = "results"


class Feedback(Entries):
    """Labels."""

    kind = "feedback"


class Dead(Entries):
    """Dead letters."""

    kind = "dead"

    @staticmethod
    def _retention_s(settings: BrokerSettings) -> float:
        return settings.text_retention_h * 3600


class Answers(Holding):
    """Answers that can be fetched, by the minute of their ids. What is pending stays."""

    kind = "answers"

    @staticmethod
    def _retention_s(settings: BrokerSettings) -> float:
        return settings.answer_retention_s

    async def look(self, now_ms: int) -> Held | None:
        """Return what is held."""
        pipeline = self._redis.pipeline(transaction=False)
        minutes = self._minutes(now_ms)
        for minute in minutes:
            pipeline.memory_usage(self._tag.answers(minute))
        found = {minute: size for minute, size in zip(minutes, await pipeline.execute(), strict=True) if size}
        if not found:
            return None
        unfinished_ms = await unfinished_since_ms(self._redis, self._tag)
        limit_ms = (now_ms if unfinished_ms is None else unfinished_ms) - FRESH_MS
        minute, since_ms = divmod(now_ms, MINUTE_MS)
        lately = found.get(minute, 0) + found.get(minute - 1, 0)
        rate = lately / (60 + since_ms / 1000)
        return Held(sum(found.values()), min(found) * MINUTE_MS, limit_ms // MINUTE_MS * MINUTE_MS, rate)

    async def cut(self, keep_from_ms: int) -> None:
        """Give up whole minutes that are older, and say so: an answer that is asked for later is gone, not unknown."""
        minute = keep_from_ms // MINUTE_MS
        await self._redis.unlink(*(self._tag.answers(one) for one in self._minutes(keep_from_ms) if one < minute))
        await give_up_before(self._redis, self._tag, self.kind, minute * MINUTE_MS)

    def _minutes(self, now_ms: int) -> list[int]:
        longest_s = self._settings.answer_retention_s + LATE_S + self._settings.async_deadline_ms / 1000
        return list(range(int(now_ms / 1000 - longest_s) // 60, now_ms // MINUTE_MS + 1))


class Joins(Holding):
    """Rows that wait for a label."""

    kind = "joins"

    def __init__(self, redis: Redis, settings: BrokerSettings, tag: Tag) -> None:
        super().__init__(redis, settings, tag)
        self._pace, self._came = Pace(), 0
        self._rows: dict[int, int] = {}  # hour to its rows when last looked

    @staticmethod
    def _retention_s(settings: BrokerSettings) -> float:
        return settings.join_retention_h * 3600

    async def look(self, now_ms: int) -> Held | None:
        """Return what is held."""
        rows = await rows_by_hour(self._redis, self._tag)
        if not rows:
            return None
        a_row = await bytes_of_a_row(self._redis, self._tag, max(rows))
        oldest_ms = max(min(rows) * HOUR_MS, await given_up_before_ms(self._redis, self._tag, self.kind))
        self._came += sum(max(0, count - self._rows.get(hour, 0)) for hour, count in rows.items())  # some also went
        self._rows = rows
        per_second = self._pace.per_second(self._came, now_ms)
        if per_second is None:
            hour, since_ms = divmod(now_ms, HOUR_MS)
            lately = rows.get(hour, 0) + rows.get(hour - 1, 0)
            per_second = lately * 1000 / max(MINUTE_MS, min(HOUR_MS + since_ms, now_ms - oldest_ms))
        return Held(sum(rows.values()) * a_row, oldest_ms, now_ms - FRESH_MS, per_second * a_row)

    async def cut(self, keep_from_ms: int) -> None:
        """Give up what is older."""
        await drop_before(self._redis, self._tag, keep_from_ms)


class Keys(Holding):
    """Idempotency-Keys: a ring of hashes, of which the head is written."""

    kind = "idem"

    @staticmethod
    def _retention_s(_settings: BrokerSettings) -> float:
        return IDEMPOTENCY_S

    async def turn(self, now_ms: int, most_bytes: float) -> None:
        """Begin the next slot where the head is old enough, or takes more than *most_bytes*."""
        head, began = await self._ring()
        size = await self._redis.memory_usage(self._tag.idem(head)) or 0
        if head in began and now_ms - began[head] < SLOT_MS and size <= most_bytes:
            return
        following = (head + 1) % IDEM_SLOTS if size else head
        await self._redis.unlink(self._tag.idem(following))
        fields: Any = {str(following): now_ms, "head": following}
        with suppress(OutOfMemoryError):
            await self._redis.hset(self._tag.idem_ring, mapping=fields)

    async def look(self, now_ms: int) -> Held | None:
        """Return what is held; the head stays."""
        head, began = await self._ring()
        pipeline = self._redis.pipeline(transaction=False)
        for slot in began:
            pipeline.memory_usage(self._tag.idem(slot))
        found = {slot: size for slot, size in zip(began, await pipeline.execute(), strict=True) if size}
        if not found:
            return None
        rate = found.get(head, 0) * 1000 / max(MINUTE_MS, now_ms - began.get(head, now_ms))
        return Held(sum(found.values()), min(began[slot] for slot in found), began.get(head, now_ms), rate)

    async def cut(self, keep_from_ms: int) -> None:
        """Give up slots of which all is older."""
        _, began = await self._ring()
        in_order = sorted(began, key=lambda slot: began[slot])
        old = [slot for slot, following in pairwise(in_order) if began[following] <= keep_from_ms]
        if old:
            await self._redis.unlink(*map(self._tag.idem, old))

    async def _ring(self) -> tuple[int, dict[int, int]]:
        """Return the head, and when each slot began, Unix ms."""
        found: Any = await self._redis.hgetall(self._tag.idem_ring)
        ring = whole_numbers(found)
        return ring.pop("head", 0), {slot: ring[str(slot)] for slot in range(IDEM_SLOTS) if str(slot) in ring}


KINDS: Final = (Requests, Results, Feedback, Dead, Answers, Joins, Keys)
