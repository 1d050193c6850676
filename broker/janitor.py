"""Keeping the log within its retention: one worker at a time does it for each tag, all others look on."""

from typing import Any

from redis.asyncio import Redis

from broker.announcements import announcements
from broker.groups import groups_of
from broker.scripts import Scripts
from broker.settings import BrokerSettings
from broker.shadows import remove_abandoned
from broker.streams import ARCHIVE, MONITOR, SERVED, SHADOW, WORKERS, Tag, entry_time_ms, workers_key

LEASE_MS = 10_000
CONSUMER_GONE_MS = 600_000  # a consumer that read nothing for this long and holds nothing
WORKER_GONE_MS = 3_600_000
JOIN_ROW_BYTES = 160  # where no row can be measured: one alone in its second; just bench-joins
JOIN_ROW_LARGEST = 600  # four tags, alone in its second
JOIN_SAMPLES = 60  # seconds of an hour whose rows are measured
PAGE = 1000  # entries looked at in one round for texts that should have gone
MB = 1 << 20
HOUR_S = 3600

# Who holds a stream back until it has read it. Everyone else loses what is older than the retention.
GUARDS = {"requests": (WORKERS, ARCHIVE), "results": (MONITOR, ARCHIVE), "feedback": (MONITOR, ARCHIVE)}


async def keep_house(redis: Redis, settings: BrokerSettings, tag: Tag, owner: str) -> bool:
    """Do one round for *tag* if the lease is ours or free; say whether. Each step may be repeated or interrupted."""
    if not await _holds_lease(redis, tag.lease("janitor"), owner):
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
        await _trim(redis, tag, stream, oldest_ms, most_mb * MB, archived=settings.archive is not None)
    if settings.store_text == "none":
        await _take_texts_off(redis, tag)
    await remove_abandoned(redis, tag, now_ms)
    await _cap_joins(redis, tag, settings, now_ms)
    await _reconcile_backlog(redis, tag)
    await _reap(redis, tag)
    await _forget_workers(redis, tag, now_ms)
    return True


async def _holds_lease(redis: Redis, key: str, owner: str) -> bool:
    if await redis.set(key, owner, nx=True, px=LEASE_MS):
        return True
    if await redis.get(key) != owner.encode():
        return False
    await redis.pexpire(key, LEASE_MS)
    return True


async def _trim(  # noqa: PLR0913 by position as the table above has them
    redis: Redis, tag: Tag, stream: str, oldest_ms: int, most_bytes: int, *, archived: bool
) -> None:
    """Trim what is past its retention and read by every guard; past the byte cap the log wins and a gap is counted."""
    key = tag.key(stream)
    groups = await groups_of(redis, key)
    if not archived and any(group["name"].decode() == ARCHIVE for group in groups):
        # Nothing waits for an archive that is switched off. One that runs all the same makes its group anew.
        await redis.xgroup_destroy(key, ARCHIVE)
        groups = [group for group in groups if group["name"].decode() != ARCHIVE]
    guards = [group for group in groups if group["name"].decode() in GUARDS.get(stream, ())]
    floors = [await _floor(redis, key, group) for group in guards]
    await _cut(redis, tag, stream, _oldest([f"{oldest_ms}-0", *floors]), groups)
    size = await redis.memory_usage(key)
    if not size or size <= most_bytes:
        return
    oldest: Any = await redis.xrange(key, count=1)
    newest: Any = await redis.xrevrange(key, count=1)
    first, last = entry_time_ms(oldest[0][0].decode()), entry_time_ms(newest[0][0].decode())
    keep_from = last - int((last - first) * most_bytes / size * 0.9)
    before = await groups_of(redis, key)
    await _cut(redis, tag, stream, f"{keep_from}-0", before)
    await _count_gaps(redis, tag, stream, before)


async def _cut(redis: Redis, tag: Tag, stream: str, first: str, groups: list[dict[str, Any]]) -> None:
    """Trim up to *first*, exactly: text is gone when its hour has come, not when its whole node is full."""
    if any(_is_shadow(group) for group in groups):
        await Scripts(redis)("trim", [tag.key(stream), tag.gaps], [first, SHADOW, f"{stream}/"])
    else:
        await redis.xtrim(tag.key(stream), minid=first, approximate=False)


def _is_shadow(group: dict[str, Any]) -> bool:
    return bool(group["name"].startswith(SHADOW.encode()))


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


async def _count_gaps(redis: Redis, tag: Tag, stream: str, before: list[dict[str, Any]]) -> None:
    length = await redis.xlen(tag.key(stream))
    for group in before:
        lost = 0 if _is_shadow(group) else max(0, (group["lag"] or 0) - length)  # a shadow's were counted exactly
        if lost:
            await redis.hincrby(tag.gaps, f"{stream}/{group['name'].decode()}", lost)


async def _floor(redis: Redis, key: str, group: dict[str, Any]) -> str:
    """Return the first id that *group* still needs: its oldest pending entry, else what comes after its position."""
    if group["pending"]:
        oldest = (await redis.xpending(key, group["name"]))["min"]
        if oldest:
            return str(oldest.decode())
    return str(group["last-delivered-id"].decode())


async def _cap_joins(redis: Redis, tag: Tag, settings: BrokerSettings, now_ms: int) -> None:
    """Drop the oldest hours of join rows while there are more than the cap allows, and forget hours that expired."""
    rows = {int(hour): int(count) for hour, count in (await redis.hgetall(tag.joined)).items()}
    oldest_hour = int(now_ms / 1000 / HOUR_S - settings.join_retention_h) - 1
    most_rows = settings.joins_max_mb * MB / JOIN_ROW_LARGEST
    if sum(rows.values()) > most_rows:
        most_rows = settings.joins_max_mb * MB / await _bytes_of_a_row(redis, tag, max(rows))
    for hour in sorted(rows):
        if hour >= oldest_hour:
            if sum(rows.values()) <= most_rows:
                return
            seconds = range(hour * HOUR_S, (hour + 1) * HOUR_S)
            await redis.unlink(*(tag.joins(second) for second in seconds))
        del rows[hour]
        await redis.hdel(tag.joined, str(hour))


async def _bytes_of_a_row(redis: Redis, tag: Tag, hour: int) -> float:
    """Return what a join row of *hour* takes on average: 70 to 350 bytes, by rows a second and by tags."""
    pipeline = redis.pipeline(transaction=False)
    for second in range(hour * HOUR_S, (hour + 1) * HOUR_S, HOUR_S // JOIN_SAMPLES):
        pipeline.memory_usage(tag.joins(second))
        pipeline.hlen(tag.joins(second))
    found = await pipeline.execute()
    rows = sum(found[1::2])
    return sum(size or 0 for size in found[::2]) / rows if rows else JOIN_ROW_BYTES


async def _reconcile_backlog(redis: Redis, tag: Tag) -> None:
    """Set the admission counter to what Redis knows, if it knows."""
    for group in await groups_of(redis, tag.requests):
        if group["name"].decode() == WORKERS and group["lag"] is not None:
            await redis.set(tag.backlog, group["lag"] + group["pending"])


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


def _oldest(ids: list[str]) -> str:
    return min(ids, key=lambda entry: tuple(int(part) for part in entry.split("-")))
