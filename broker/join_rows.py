"""The rows that let a label find its prediction: how much they take, and dropping the oldest."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from broker.kept import give_up_before, given_up_before_ms
from broker.stored import whole_numbers
from broker.streams import Tag

ROW_BYTES: Final = 160  # where no row can be measured: one alone in its second; just bench-joins
SAMPLES: Final = 60  # seconds of an hour whose rows are measured
HOUR_S: Final = 3600
HOUR_MS: Final = HOUR_S * 1000


async def rows_by_hour(redis: Redis, tag: Tag) -> dict[int, int]:
    """Return how many rows were written for the predictions of each hour since 1970."""
    found: Any = await redis.hgetall(tag.joined)
    return {int(hour): count for hour, count in whole_numbers(found).items() if hour.isdecimal()}


async def bytes_of_a_row(redis: Redis, tag: Tag, hour: int) -> float:
    """Return what a row of *hour* takes on average: 70 to 350 bytes, by rows a second and by tags."""
    pipeline = redis.pipeline(transaction=False)
    for second in range(hour * HOUR_S, (hour + 1) * HOUR_S, HOUR_S // SAMPLES):
        pipeline.memory_usage(tag.joins(second))
        pipeline.hlen(tag.joins(second))
    found = await pipeline.execute()
    rows = sum(found[1::2])
    return sum(size or 0 for size in found[::2]) / rows if rows else ROW_BYTES


async def forget_expired(redis: Redis, tag: Tag, now_ms: int, retention_h: float) -> None:
    """Forget the number of rows of hours whose rows have expired."""
    oldest = int(now_ms / HOUR_MS - retention_h) - 1
    expired = [str(hour) for hour in await rows_by_hour(redis, tag) if hour < oldest]
    if expired:
        await redis.hdel(tag.joined, *expired)


async def drop_hours(redis: Redis, tag: Tag, hours: Iterable[int]) -> None:
    """Drop all rows of *hours*."""
    for hour in hours:
        await redis.unlink(*(tag.joins(second) for second in range(hour * HOUR_S, (hour + 1) * HOUR_S)))
        await redis.hdel(tag.joined, str(hour))


async def drop_before(redis: Redis, tag: Tag, keep_from_ms: int) -> None:
    """Drop the rows of predictions made before *keep_from_ms*, to the second."""
    hour, rest_ms = divmod(keep_from_ms, HOUR_MS)
    rows = await rows_by_hour(redis, tag)
    await drop_hours(redis, tag, sorted(one for one in rows if one < hour))
    from_ms = max(hour * HOUR_MS, await given_up_before_ms(redis, tag, "joins"))
    seconds = range(from_ms // 1000, hour * HOUR_S + rest_ms // 1000)
    pipeline = redis.pipeline(transaction=False)
    for second in seconds if hour in rows else ():
        pipeline.hlen(tag.joins(second))
        pipeline.unlink(tag.joins(second))
    rows_gone = sum((await pipeline.execute())[::2])
    if rows_gone:
        with suppress(OutOfMemoryError):  # until there is room again
            await redis.hincrby(tag.joined, str(hour), -rows_gone)
    await give_up_before(redis, tag, "joins", keep_from_ms // 1000 * 1000)


async def cap_rows(redis: Redis, tag: Tag, most_bytes: float) -> None:
    """Drop the oldest hours while all rows take more than *most_bytes*, the newest hour excepted."""
    rows = await rows_by_hour(redis, tag)
    if not rows:
        return
    most_rows = most_bytes / await bytes_of_a_row(redis, tag, max(rows))
    gone = []
    for hour in sorted(rows):
        if sum(rows.values()) <= most_rows:
            break
        gone.append(hour)
        del rows[hour]
    await drop_hours(redis, tag, gone)
