"""One budget for all that a server holds: past it the oldest goes, whichever model and kind it is of.

Who takes less than its share of the budget keeps what it has: the log of a quiet model does not pay for a busy one.
"""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from redis.asyncio import Redis

from broker.announcements import served_models
from broker.cluster import primary_of
from broker.forgetting import tags_on
from broker.holdings import KINDS, Held, Holding, Keys
from broker.kept import note_kept
from broker.leases import keep_or_take
from broker.settings import BrokerSettings
from broker.streams import Tag

LEASE_MS: Final = 10_000
WAITING: Final = 0.25  # of maxmemory that requests may take before they are answered, all models together
SAY_S: Final = 10.0
SEEK_S: Final = 600.0
KEY_SLOTS: Final = 32  # slots of Idempotency-Keys that would fill the budget


class Budget:
    """Who keeps the servers within it; of all processes that try, one does."""

    def __init__(self, redis: Redis, settings: BrokerSettings, owner: str) -> None:
        self.kept_s: dict[str, dict[str, float]] = {}  # model to kind to how long it is kept, if it is we who know
        self._redis = redis
        self._settings = settings
        self._owner = owner
        self._said_s = -math.inf  # time.monotonic() when that was last worked out
        self.unserved: list[Tag] = []  # what no worker serves any more and the server still holds, if it is we who know
        self._found: set[Tag] = set()  # what the server holds
        self._holdings: dict[Tag, list[Holding]] = {}  # each remembers how much came lately
        self._sought_s = -math.inf  # time.monotonic() when that was last looked for

    async def keep(self) -> None:
        """Bring each server back within its budget if the lease is ours or free; may be repeated or interrupted."""
        lease = Tag(self._settings.model).lease("budget")
        if not await keep_or_take(self._redis, lease, self._owner, LEASE_MS):
            self.kept_s, self.unserved = {}, []
            return
        seconds, _ = await self._redis.time()
        for server, tags in await self._tags_by_server():
            memory: Any = await server.info("memory")
            await self._keep_within(tags, memory, int(seconds) * 1000)
        if time.monotonic() - self._said_s > SAY_S:
            self._said_s = time.monotonic()
            await self._say(int(seconds) * 1000)

    async def _keep_within(self, tags: Sequence[Tag], memory: Mapping[str, Any], now_ms: int) -> None:
        budget = self._settings.log_memory_ratio * most_memory(memory)
        if not budget:
            return
        for tag in set(tags).difference(self.unserved):  # or a key would come back to a model whose keys were deleted
            await Keys(self._redis, self._settings, tag).turn(now_ms, budget / KEY_SLOTS)
        # What is being freed in the background is not free yet: give up nothing more for it.
        excess = memory["used_memory"] - budget
        if excess <= 0 or memory.get("lazyfree_pending_objects"):
            return
        found = await self._look(tags, now_ms)
        cuts = cuts_for([held for _, _, held in found], excess, budget, now_ms)
        for (_, holding, held), keep_from_ms in zip(found, cuts, strict=True):
            if keep_from_ms > held.oldest_ms:
                await holding.cut(keep_from_ms)

    async def _say(self, now_ms: int) -> None:
        """Work out how long each kind is kept at the present rate."""
        kept: dict[str, dict[str, float]] = {}
        for server, tags in await self._tags_by_server():
            memory: Any = await server.info("memory")
            found = await self._look(tags, now_ms)
            held = sum(one.size for _, _, one in found)
            room = (self._settings.log_memory_ratio * most_memory(memory) or math.inf) - (memory["used_memory"] - held)
            most_s = lasts_s([(one.rate, holding.retention_s) for _, holding, one in found], room)
            for tag, holding, _ in found:
                lasting = min(most_s, holding.retention_s)
                of_model = kept.setdefault(tag.model, {})
                of_model[holding.kind] = min(lasting, of_model.get(holding.kind, lasting))
        for model, seconds in kept.items():
            await note_kept(self._redis, Tag(model), seconds)
        self.kept_s = kept

    async def _look(self, tags: Sequence[Tag], now_ms: int) -> list[tuple[Tag, Holding, Held]]:
        return [
            (tag, holding, held)
            for tag in tags
            for holding in self._holdings_of(tag)
            if (held := await holding.look(now_ms))
        ]

    def _holdings_of(self, tag: Tag) -> list[Holding]:
        if tag not in self._holdings:
            self._holdings[tag] = [kind(self._redis, self._settings, tag) for kind in KINDS]
        return self._holdings[tag]

    async def _tags_by_server(self) -> list[tuple[Redis, list[Tag]]]:
        if time.monotonic() - self._sought_s > SEEK_S:
            self._found, self._sought_s = await tags_on(self._redis), time.monotonic()
        models = await served_models(self._redis) or [self._settings.model]
        served = {Tag(model, shard) for model in models for shard in range(self._settings.shards)}
        self.unserved = sorted(self._found - served)
        servers: dict[int, tuple[Redis, list[Tag]]] = {}
        for tag in sorted(served | self._found):
            server = await primary_of(self._redis, tag.born)
            servers.setdefault(id(server), (server, []))[1].append(tag)
        return list(servers.values())


def cuts_for(held: Sequence[Held], excess: float, budget: float, now_ms: int) -> list[int]:
    """Return for each the time before which it is given up, so that *excess* bytes are freed, the oldest of all first.

    None falls below its share of the budget, as long as that frees enough.
    """
    share = budget / max(1, len(held))
    spared = [_leaving(one, share, now_ms) for one in held]
    for limits in (spared, [one.limit_ms for one in held]):
        pairs = list(zip(held, limits, strict=True))
        low, high = min((one.oldest_ms for one in held), default=now_ms), now_ms
        while high - low > 1:
            middle = (low + high) // 2
            freed = sum(_freed(one, min(middle, limit), now_ms) for one, limit in pairs)
            low, high = (low, middle) if freed >= excess else (middle, high)
        if sum(_freed(one, min(high, limit), now_ms) for one, limit in pairs) >= excess:
            break
    return [min(high, limit) for limit in limits]


def _leaving(held: Held, size: float, now_ms: int) -> int:
    """Return before which time *held* may be given up so that *size* bytes of it are left."""
    if held.size <= size:
        return held.oldest_ms
    span_ms = now_ms - held.oldest_ms
    return min(held.limit_ms, held.oldest_ms + int(span_ms * (1 - size / held.size)))


def _freed(held: Held, keep_from_ms: int, now_ms: int) -> float:
    """Return what giving up all before *keep_from_ms* frees, as if it had come evenly; the next round knows better."""
    return held.size * max(0, keep_from_ms - held.oldest_ms) / max(1, now_ms - held.oldest_ms)


def most_memory(memory: Mapping[str, Any]) -> int:
    """Return what a server may use, bytes: its maxmemory, and without one its machine's; 0: it does not say."""
    return int(memory.get("maxmemory") or memory.get("total_system_memory", 0))


def waiting_bytes(memories: Sequence[Mapping[str, Any]], logs: int) -> float:
    """Return how many bytes of requests may wait in each of so many *logs*, spread over servers of these *memories*."""
    least = min(map(most_memory, memories)) or math.inf
    return WAITING * least / max(1, math.ceil(logs / len(memories)))


def lasts_s(rates: Sequence[tuple[float, float]], room: float) -> float:
    """Return how long all may be kept in *room* bytes, seconds.

    *rates*: bytes a second that come of each kind, and the seconds after which it goes by itself.
    """
    low, high = 0.0, max((retention_s for _, retention_s in rates), default=0.0)
    while high - low > 1:
        middle = (low + high) / 2
        low, high = (
            (middle, high)
            if sum(rate * min(middle, retention_s) for rate, retention_s in rates) <= room
            else (low, middle)
        )
    return high
