"""Taking the oldest entries off a stream: nothing that a worker still needs, and what others lose is counted."""

from typing import Any, Final

from redis.asyncio import Redis

from broker.groups import groups_of
from broker.scripts import Scripts
from broker.streams import WORKERS, Tag, entry_time_ms

AT_ONCE: Final = 10_000  # entries that one call of the script trims, so that it does not hold the server up


async def trim(redis: Redis, tag: Tag, stream: str, first: str) -> None:
    """Trim *stream* up to the id *first*, exactly: text is gone when its hour has come, not when its node is full.

    Of requests, what the workers have not finished stays. What other groups lose is counted as their gap.
    """
    if stream == "requests":
        first = oldest([first, *[await floor(redis, tag.requests, group) for group in await _workers(redis, tag)]])
    while await Scripts(redis)("trim", [tag.key(stream), tag.gaps], [first, AT_ONCE, f"{stream}/"]):
        pass


async def account(redis: Redis, tag: Tag, stream: str) -> None:
    """Count what another program deleted before a group had read it, and set lags and the backlog right."""
    keys = [tag.key(stream), tag.gaps, *([tag.backlog] if stream == "requests" else ())]
    await Scripts(redis)("account", keys, [f"{stream}/", WORKERS])


async def unfinished_since_ms(redis: Redis, tag: Tag) -> int | None:
    """Return the time of the oldest request that the workers have not finished; None: they have finished all."""
    for group in await _workers(redis, tag):
        first = await floor(redis, tag.requests, group)
        newest: Any = await redis.xrevrange(tag.requests, count=1)
        if group["pending"] or (newest and oldest([first, newest[0][0].decode()]) != newest[0][0].decode()):
            return entry_time_ms(first)
    return None


async def floor(redis: Redis, key: str, group: dict[str, Any]) -> str:
    """Return the first id that *group* still needs: its oldest pending entry, else what comes after its position."""
    if group["pending"]:
        first = (await redis.xpending(key, group["name"]))["min"]
        if first:
            return str(first.decode())
    return str(group["last-delivered-id"].decode())


def oldest(ids: list[str]) -> str:
    """Return the entry id that comes first."""
    return min(ids, key=lambda entry: tuple(int(part) for part in entry.split("-")))


async def _workers(redis: Redis, tag: Tag) -> list[dict[str, Any]]:
    return [group for group in await groups_of(redis, tag.requests) if group["name"] == WORKERS.encode()]
