"""The log as the commands see it: checked, and with Redis' errors turned into one line."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from broker.connection import check_server, connect
from broker.errors import BrokerUnavailableError
from broker.history import ASK, telling_history
from cli.settings import CliSettings

Entry = tuple[str, dict[bytes, bytes]]  # entry id, fields

BACK_MS: Final = 600_000  # before a position, read again on another server: a replaced one is not read on for so long


@asynccontextmanager
async def opened(settings: CliSettings) -> AsyncIterator[Redis]:
    """Connect to the log while a command runs.

    Raises:
        BrokerUnavailableError: it cannot be reached, or was lost on the way.
        UnsafeServerError: the server is not fit for the log.

    """
    redis = connect(settings, "cli")
    try:
        await check_server(redis, settings)
        yield redis
    except RedisError as error:
        raise BrokerUnavailableError(f"the log was lost on the way ({error}); run: just up") from error
    finally:
        await redis.aclose()


async def oldest(redis: Redis, stream: str, first: str = "-", last: str = "+", count: int | None = None) -> list[Entry]:
    """Return entries from *first* to *last*, oldest first, at most *count*."""
    return _entries(await redis.xrange(stream, first, last, count))


async def newest(redis: Redis, stream: str, last: str = "+", first: str = "-", count: int | None = None) -> list[Entry]:
    """Return entries from *last* back to *first*, newest first, at most *count*."""
    return _entries(await redis.xrevrange(stream, last, first, count))


@dataclass(slots=True)
class Place:
    """How far streams have been read; each position means something under its history alone."""

    positions: dict[str, str] = field(default_factory=dict)  # stream to the last entry that was read
    histories: dict[str, str] = field(default_factory=dict)  # stream to the history of the server that was asked


async def after(redis: Redis, place: Place, count: int, block_ms: int | None = None) -> dict[str, list[Entry]]:
    """Return, per stream, at most *count* entries that came after its position; streams with none are left out.

    Where another server has taken over, or one has lost its end, *place* is moved back, and some come a second time.
    """
    telling = telling_history(redis)

    async def read(stream: str) -> Any:  # each by itself: in a cluster they may be on several servers
        pipeline = telling.pipeline(transaction=False)
        pipeline.xread({stream: place.positions[stream]}, count=count, block=block_ms)
        pipeline.execute_command(*ASK)
        found, history = await pipeline.execute()
        if place.histories.setdefault(stream, history) != history:
            place.histories[stream] = history
            place.positions[stream] = str(max(0, order(place.positions[stream])[0] - BACK_MS))
            return await read(stream)
        return found

    found = [answer for answers in await asyncio.gather(*map(read, place.positions)) for answer in answers]
    return {stream.decode(): _entries(entries) for stream, entries in found}


def order(entry_id: str) -> tuple[int, int]:
    """Return what sorts entry ids as their stream does."""
    time_ms, _, sequence = entry_id.partition("-")
    return int(time_ms), int(sequence or 0)


def _entries(found: Any) -> list[Entry]:
    return [(entry_id.decode(), fields) for entry_id, fields in found]
