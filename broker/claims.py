"""Entries whose worker died or stopped: who finds them idle takes them over, one at a time."""

from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis

from broker.settings import BrokerSettings
from broker.streams import WORKERS, Tag

AT_ONCE = 100  # idle entries listed per look; each is claimed alone, directly before it runs
SUSPECTED_S: Final = 86_400  # that a worker's death is remembered
TOO_OFTEN: Final = 10  # times the deliveries allowed: whatever it is, it does not end by itself


@dataclass(frozen=True, slots=True)
class Claim:
    """An entry that is ours now, and how often it had been delivered before."""

    entry_id: str
    deliveries: int
    fields: dict[bytes, bytes]

    def is_hopeless(self, deaths: int, max_deliveries: int) -> bool:
        """Tell whether to give up, after *deaths* of workers that ran this entry alone.

        The first delivery came in the company of others, any of which may have been to blame.
        """
        condemned = self.deliveries >= max_deliveries and deaths >= max_deliveries - 1
        return condemned or self.deliveries >= TOO_OFTEN * max_deliveries


async def idle_entries(
    redis: Redis, tag: Tag, settings: BrokerSettings, *, after: str | None = None, group: str = WORKERS
) -> list[tuple[str, int]]:
    """Return entries of *group* that nobody has touched for the claim time, with their deliveries so far.

    Oldest first, at most `AT_ONCE`; the next page begins *after* the last id of this one.
    """
    found: Any = await redis.xpending_range(
        tag.requests,
        group,
        min=f"({after}" if after else "-",
        max="+",
        count=AT_ONCE,
        idle=settings.claim_ms,
    )
    return [(row["message_id"].decode(), row["times_delivered"]) for row in found]


async def claim(  # noqa: PLR0913 - an entry, and who takes it for whom
    redis: Redis, tag: Tag, consumer: str, entry_id: str, settings: BrokerSettings, *, group: str = WORKERS
) -> Claim | None:
    """Take over one idle entry; None where another worker was faster.

    An entry that was trimmed while it was pending can never be answered: Redis drops it from the pending list, and it
    is counted as a gap.
    """
    pipeline = redis.pipeline(transaction=True)
    pipeline.xpending_range(tag.requests, group, min=entry_id, max=entry_id, count=1)
    pipeline.xclaim(tag.requests, group, consumer, settings.claim_ms, [entry_id])
    pipeline.xrange(tag.requests, entry_id, entry_id)
    pending, claimed, stored = await pipeline.execute()
    if claimed and claimed[0][1] is not None:
        return Claim(entry_id, pending[0]["times_delivered"], claimed[0][1])
    if pending and not stored:
        await redis.xack(tag.requests, group, entry_id)
        await redis.hincrby(tag.gaps, f"requests/{group}", 1)
    return None


async def suspect(redis: Redis, tag: Tag, worker: str, entry_id: str) -> int:
    """Note that *worker* is about to run an entry alone; return how many others did and were not heard of again.

    A worker that is killed in company, or while it waits for the server, leaves no mark: its entries are innocent.
    """
    key = tag.suspects(entry_id)
    pipeline = redis.pipeline(transaction=False)
    pipeline.srem(key, worker)
    pipeline.scard(key)
    pipeline.sadd(key, worker)
    pipeline.expire(key, SUSPECTED_S)
    # A full server takes no mark, and its entries are taken over all the same.
    _, deaths, *_ = await pipeline.execute(raise_on_error=False)
    if isinstance(deaths, Exception):
        raise deaths
    return int(deaths)


async def clear(redis: Redis, tag: Tag, worker: str, entry_id: str) -> None:
    """Note that *worker* survived the entry."""
    await redis.srem(tag.suspects(entry_id), worker)
