"""Entries whose worker died or stopped: who finds them idle takes them over, one at a time."""

from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis

from broker.scripts import Scripts
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
    deaths: int  # of workers that ran it alone
    fields: dict[bytes, bytes]

    def is_hopeless(self, max_deliveries: int) -> bool:
        """Tell whether to give up: it was delivered often enough, and all but the first try killed a worker.

        The first delivery came in the company of others, any of which may have been to blame.
        """
        condemned = self.deliveries >= max_deliveries and self.deaths >= max_deliveries - 1
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

    In the group that answers, the worker is suspected to die of it until it says `survived`. An entry that was trimmed
    while it was pending can never be answered: it is no longer pending, and counted as a gap.

    Raises:
        WrongKeyTypeError: a key of ours holds something else; nothing was written.

    """
    keys = [tag.requests, tag.gaps]
    if group == WORKERS:
        keys += [tag.suspects(entry_id), tag.backlog]
    arguments = [group, consumer, settings.claim_ms, entry_id, f"requests/{group}", SUSPECTED_S]
    taken = await Scripts(redis)("claim", keys, arguments)
    if not taken:
        return None
    deliveries, deaths, flat = taken
    return Claim(entry_id, deliveries, deaths, dict(zip(flat[::2], flat[1::2], strict=True)))


async def survived(redis: Redis, tag: Tag, worker: str, entry_id: str) -> None:
    """Say that *worker* has run an entry that it took over, and lives."""
    await redis.srem(tag.suspects(entry_id), worker)
