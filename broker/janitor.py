"""Keeping the log within its retention: one worker at a time does it for each tag, all others look on."""

from typing import Any

from redis.asyncio import Redis

from broker.announcements import announcements
from broker.groups import groups_of
from broker.join_rows import cap_rows, forget_expired
from broker.leases import keep_or_take
from broker.scripts import Scripts
from broker.settings import BrokerSettings
from broker.shadows import remove_abandoned
from broker.streams import ARCHIVE, MONITOR, SERVED, WORKERS, Tag, entry_time_ms, workers_key
from broker.trimming import account, floor, oldest, trim

LEASE_MS = 10_000
CONSUMER_GONE_MS = 600_000  # a consumer that read nothing for this long and holds nothing
WORKER_GONE_MS = 3_600_000
PAGE = 1000  # entries looked at in one round for texts that should have gone
MB = 1 << 20
HOUR_S = 3600

# Who holds a stream back until it has read it. Everyone else loses what is older than the retention.
GUARDS = {"requests": (WORKERS, ARCHIVE), "results": (MONITOR, ARCHIVE), "feedback": (MONITOR, ARCHIVE)}


async def keep_house(redis: Redis, settings: BrokerSettings, tag: Tag, owner: str) -> bool:
    """Do one round for *tag* if the lease is ours or free; say whether. Each step may be repeated or interrupted."""
    if not await keep_or_take(redis, tag.lease("janitor"), owner, LEASE_MS):
        return False
    seconds, _ = await redis.time()
    now_ms = int(seconds) * 1000
    for stream, hours, most_mb in (
        ("requests", settings.text_retention_h, settings.requests_max_mb),
        ("results", settings.results_retention_h, settings.results_max_mb),
        ("feedback", settings.results_retention_h, settings.results_max_mb),
        ("dead", settings.text_retention_h, settings.requests_max_mb),
        ("alerts", settings.results_retention_h, settings.results_max_mb),
    ):
        oldest_ms = int(now_ms - hours * HOUR_S * 1000)
        await _trim(redis, tag, stream, oldest_ms, most_mb, archived=settings.archive is not None)
    if settings.store_text == "none":
        await _take_texts_off(redis, tag)
    await remove_abandoned(redis, tag, now_ms)
    await forget_expired(redis, tag, now_ms, settings.join_retention_h)
    if settings.joins_max_mb is not None:
        await cap_rows(redis, tag, settings.joins_max_mb * MB)
    for stream in GUARDS:
        await account(redis, tag, stream)
    await _reap(redis, tag)
    await _forget_workers(redis, tag, now_ms)
    return True


async def _trim(  # noqa: PLR0913 by position as the table above has them
    redis: Redis, tag: Tag, stream: str, oldest_ms: int, most_mb: int | None, *, archived: bool
) -> None:
    """Trim what is past its retention and read by every guard; past its byte cap, what the workers have done with."""
    key = tag.key(stream)
    groups = await groups_of(redis, key)
    if not archived and any(group["name"].decode() == ARCHIVE for group in groups):
        # Nothing waits for an archive that is switched off. One that runs all the same makes its group anew.
        await redis.xgroup_destroy(key, ARCHIVE)
        groups = [group for group in groups if group["name"].decode() != ARCHIVE]
    guards = [group for group in groups if group["name"].decode() in GUARDS.get(stream, ())]
    floors = [await floor(redis, key, group) for group in guards]
    await trim(redis, tag, stream, oldest([f"{oldest_ms}-0", *floors]))
    if most_mb is None:
        return
    size = await redis.memory_usage(key)
    if not size or size <= most_mb * MB:
        return
    oldest_one: Any = await redis.xrange(key, count=1)
    newest_one: Any = await redis.xrevrange(key, count=1)
    if not oldest_one or not newest_one:  # its readers' lists alone are that large, or it was emptied just now
        return
    first, last = (entry_time_ms(entry_id.decode()) for entry_id, _ in (*oldest_one, *newest_one))
    await trim(redis, tag, stream, f"{last - int((last - first) * most_mb * MB / size * 0.9)}-0")


async def _take_texts_off(redis: Redis, tag: Tag) -> None:
    """Delete settled entries that stayed because they were the last delivered when they were settled.

    What is not pending was settled for good, so nothing is lost if workers go on meanwhile.
    """
    for group in await groups_of(redis, tag.requests):
        if group["name"].decode() != WORKERS or not group["pending"]:
            continue
        first = (await redis.xpending(tag.requests, WORKERS))["min"]
        entries: Any = await redis.xrange(tag.requests, first or "-", f"({group['last-delivered-id'].decode()}", PAGE)
        last = entries[-1][0] if entries else b"-"
        rows: Any = await redis.xpending_range(tag.requests, WORKERS, "-", last, PAGE)
        pending = {row["message_id"] for row in rows}
        if len(pending) < PAGE and (settled := [entry_id for entry_id, _ in entries if entry_id not in pending]):
            await redis.xdel(tag.requests, *settled)


async def _reap(redis: Redis, tag: Tag) -> None:
    for group in await groups_of(redis, tag.requests):
        for consumer in await redis.xinfo_consumers(tag.requests, group["name"]):
            if consumer["pending"] == 0 and consumer["idle"] > CONSUMER_GONE_MS:
                await Scripts(redis)("reap", [tag.requests], [group["name"], consumer["name"]])


async def _forget_workers(redis: Redis, tag: Tag, now_ms: int) -> None:
    gone = [a.worker for a in await announcements(redis, tag.model) if now_ms - a.seen_ms > WORKER_GONE_MS]
    if gone:
        await redis.hdel(workers_key(tag.model), *gone)
    await redis.zremrangebyscore(SERVED, 0, now_ms - WORKER_GONE_MS)
