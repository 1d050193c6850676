"""What is known of how long the log is kept: what was given up, and what is to be expected at the present rate."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from broker.stored import whole_numbers
from broker.streams import Tag

_BEFORE = "_before"


async def give_up_before(redis: Redis, tag: Tag, kind: str, time_ms: int) -> None:
    """Note that nothing of *kind* is left of before *time_ms*; on a full server the next round notes it."""
    with suppress(OutOfMemoryError):
        await redis.hset(tag.kept, kind + _BEFORE, str(time_ms))


async def given_up_before_ms(redis: Redis, tag: Tag, kind: str) -> int:
    """Return the time before which *kind* was given up for want of memory, Unix ms; 0: none was."""
    found: Any = await redis.hgetall(tag.kept)
    return whole_numbers(found).get(kind + _BEFORE, 0)


async def note_kept(redis: Redis, tag: Tag, seconds: Mapping[str, float]) -> None:
    """Note how long each kind is kept at the present rate."""
    fields: Any = {kind: f"{time_s:.0f}" for kind, time_s in seconds.items()}
    with suppress(OutOfMemoryError):
        await redis.hset(tag.kept, mapping=fields)


async def kept_s(redis: Redis, tag: Tag) -> dict[str, int]:
    """Return how long each kind is kept at the present rate, seconds; a kind that nothing is held of is not there."""
    found: Any = await redis.hgetall(tag.kept)
    return {kind: seconds for kind, seconds in whole_numbers(found).items() if not kind.endswith(_BEFORE)}
