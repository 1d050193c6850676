"""How far each reader of a log has come, and what came last."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from broker.cluster import primaries
from broker.errors import MalformedEntryError, NewerSchemaError
from broker.events import Alert
from broker.groups import groups_of
from broker.streams import Tag, entry_time_ms

STREAMS = ("requests", "results", "feedback")


@dataclass(frozen=True, slots=True)
class GroupState:
    """One group of one stream. Lag is None where Redis cannot know it, which is not the same as none."""

    stream: str
    group: str
    lag: int | None  # entries not yet delivered
    pending: int  # delivered, not acknowledged
    oldest_ms: int | None  # age of the oldest entry that is either; None: there is none
    consumers: int


async def group_states(redis: Redis, tag: Tag) -> list[GroupState]:
    """Return the state of every group on the streams of *tag*; a stream that does not exist has none."""
    seconds, microseconds = await redis.time()
    now_ms = int(seconds) * 1000 + int(microseconds) // 1000
    states = []
    for stream in STREAMS:
        for group in await groups_of(redis, tag.key(stream)):
            oldest = await _oldest_unfinished(redis, tag.key(stream), group)
            states.append(
                GroupState(
                    stream=stream,
                    group=group["name"].decode(),
                    lag=group["lag"],
                    pending=group["pending"],
                    oldest_ms=None if oldest is None else max(0, now_ms - entry_time_ms(oldest)),
                    consumers=group["consumers"],
                )
            )
    return states


async def entries_added(redis: Redis, stream: str) -> int:
    """Return how many entries *stream* was ever given, trimmed ones included; 0 where there is no such stream."""
    try:
        found: Any = await redis.xinfo_stream(stream)
    except ResponseError as error:
        if "no such key" in str(error):
            return 0
        raise
    return int(found["entries-added"])


async def memories(redis: Redis) -> list[dict[str, Any]]:
    """Return what INFO says of the memory of each primary."""
    return [await server.info("memory") for server in await primaries(redis)]


def memory_ratio(found: Sequence[Mapping[str, Any]]) -> float:
    """Return how full the fullest of `memories` is, of its maxmemory; 0 where there is no limit."""
    return max(one["used_memory"] / one["maxmemory"] if one.get("maxmemory") else 0.0 for one in found)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a stream, its names readable and its values as they are."""

    id: str
    at_ms: int  # Redis time
    fields: dict[str, bytes]


async def consumers(redis: Redis, stream: str, group: str) -> list[dict[str, Any]]:
    """Return who reads *stream* through *group*: name, pending entries, milliseconds since it last asked."""
    found: Any = await redis.xinfo_consumers(stream, group)
    return [
        {"name": one["name"].decode(errors="backslashreplace"), "pending": one["pending"], "idle_ms": one["idle"]}
        for one in found
    ]


async def latest_entries(redis: Redis, stream: str, count: int) -> tuple[int, list[Entry]]:
    """Return the length of *stream* and its latest *count* entries, newest first."""
    length = int(await redis.xlen(stream))
    found: Any = await redis.xrevrange(stream, count=count) if count else []
    return length, [
        Entry(
            entry_id.decode(),
            entry_time_ms(entry_id.decode()),
            {name.decode(errors="backslashreplace"): value for name, value in fields.items()},
        )
        for entry_id, fields in found
    ]


async def read_alerts(redis: Redis, tag: Tag, count: int = 100) -> list[Alert]:
    """Return the latest alerts, newest first; what cannot be read is left out."""
    alerts = []
    entries: Any = await redis.xrevrange(tag.alerts, count=count)
    for _, fields in entries:
        try:
            alerts.append(Alert.from_fields(fields))
        except (MalformedEntryError, NewerSchemaError):
            continue
    return alerts


async def _oldest_unfinished(redis: Redis, stream: str, group: dict[str, Any]) -> str | None:
    """Return the id of the first pending entry, else of the first undelivered one."""
    if group["pending"]:
        oldest = (await redis.xpending(stream, group["name"]))["min"]
        if oldest:
            return str(oldest.decode())
    if group["lag"] == 0:
        return None
    undelivered: Any = await redis.xrange(stream, min=f"({group['last-delivered-id'].decode()}", count=1)
    return str(undelivered[0][0].decode()) if undelivered else None
