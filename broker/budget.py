"""One budget for all that a server holds: past it the oldest goes, whichever model and kind it is of.

Who takes less than its share of the budget keeps what it has: the log of a quiet model does not pay for a busy one.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from redis.asyncio import Redis

from broker.announcements import served_models
from broker.cluster import primary_of
from broker.holdings import KINDS, Held, Keys
from broker.leases import keep_or_take
from broker.settings import BrokerSettings
from broker.streams import Tag

LEASE_MS: Final = 10_000
WAITING: Final = 0.25  # of maxmemory that requests may take before they are answered, all models together
KEY_SLOTS: Final = 32  # slots of Idempotency-Keys that would fill the budget


async def keep_budget(redis: Redis, settings: BrokerSettings, owner: str) -> None:
    """Bring each server back within its budget if the lease is ours or free; may be repeated or interrupted."""
    if not await keep_or_take(redis, Tag(settings.model).lease("budget"), owner, LEASE_MS):
        return
    seconds, _ = await redis.time()
    for server, tags in await _tags_by_server(redis, settings):
        memory: Any = await server.info("memory")
        await _keep_within(redis, settings, tags, memory, int(seconds) * 1000)


async def _keep_within(
    redis: Redis, settings: BrokerSettings, tags: Sequence[Tag], memory: Mapping[str, Any], now_ms: int
) -> None:
    budget = settings.log_memory_ratio * most_memory(memory)
    if not budget:
        return
    for tag in tags:
        await Keys(redis, settings, tag).turn(now_ms, budget / KEY_SLOTS)
    # What is being freed in the background is not free yet: give up nothing more for it.
    excess = memory["used_memory"] - budget
    if excess <= 0 or memory.get("lazyfree_pending_objects"):
        return
    holdings = [kind(redis, settings, tag) for tag in tags for kind in KINDS]
    found = [(holding, held) for holding in holdings if (held := await holding.look(now_ms))]
    cuts = cuts_for([held for _, held in found], excess, budget, now_ms)
    for (holding, held), keep_from_ms in zip(found, cuts, strict=True):
        if keep_from_ms > held.oldest_ms:
            await holding.cut(keep_from_ms)


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


async def _tags_by_server(redis: Redis, settings: BrokerSettings) -> list[tuple[Redis, list[Tag]]]:
    servers: dict[int, Redis] = {}
    tags: defaultdict[int, list[Tag]] = defaultdict(list)
    for model in await served_models(redis) or [settings.model]:
        for shard in range(settings.shards):
            tag = Tag(model, shard)
            server = await primary_of(redis, tag.born)
            servers[id(server)] = server
            tags[id(server)].append(tag)
    return [(server, tags[of]) for of, server in servers.items()]
