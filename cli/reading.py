"""The log as the commands see it: checked, and with Redis' errors turned into one line."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from broker.connection import check_server, connect
from broker.errors import BrokerUnavailableError
from cli.settings import CliSettings

Entry = tuple[str, dict[bytes, bytes]]  # entry id, fields


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


async def after(
    redis: Redis, positions: Mapping[str, str], count: int, block_ms: int | None = None
) -> dict[str, list[Entry]]:
    """Return, per stream, at most *count* entries that came after its position; streams with none are left out."""

    async def read(stream: str) -> Any:  # each by itself: in a cluster they may be on several servers
        return await redis.xread({stream: positions[stream]}, count=count, block=block_ms)

    found = [answer for answers in await asyncio.gather(*map(read, positions)) for answer in answers]
    return {stream.decode(): _entries(entries) for stream, entries in found}


def order(entry_id: str) -> tuple[int, int]:
    """Return what sorts entry ids as their stream does."""
    time_ms, _, sequence = entry_id.partition("-")
    return int(time_ms), int(sequence)


def _entries(found: Any) -> list[Entry]:
    return [(entry_id.decode(), fields) for entry_id, fields in found]
