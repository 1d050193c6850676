"""A duty that one process at a time performs, for a while."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from broker.errors import LeaseTakenError
from broker.scripts import Scripts

FILES_LEASE: Final = "files"  # of who changes the archive's files: an archiver, or who forgets somebody
LEASE_S: Final = 5.0  # after which the work of a process that was killed is another's; prolonged while it lives
MARGIN_S: Final = 1.5  # nothing is begun in a lease's last seconds
AGAIN_S: Final = 0.1


@dataclass(slots=True)
class Lease:
    """A lease that was ours when we last asked."""

    redis: Redis
    key: str
    token: str
    until_s: float  # time.monotonic()

    def holds(self) -> bool:
        """Tell whether it is surely still ours, without asking; false after a process stood still for too long."""
        return time.monotonic() < self.until_s - MARGIN_S

    async def prolong(self) -> bool:
        """Keep it for another while; return whether it was still ours."""
        now_s = time.monotonic()
        if await self.redis.get(self.key) != self.token.encode():
            return False
        if await self.redis.pexpire(self.key, int(LEASE_S * 1000)):
            self.until_s = now_s + LEASE_S
        return self.holds()


async def keep_or_take(redis: Redis, key: str, owner: str, lease_ms: int) -> bool:
    """Take the lease *key* for *owner*, or keep it, for *lease_ms*; false where it is another's.

    It works on a full server, too.
    """
    return bool(await Scripts(redis)("take", [key], [owner, lease_ms]))


@asynccontextmanager
async def held(redis: Redis, key: str, *, wait_s: float = 0) -> AsyncIterator[Lease]:
    """Hold the lease *key*, waiting for it at most *wait_s* seconds.

    Raises:
        LeaseTakenError: another process has it.

    """
    token, end = secrets.token_hex(8), time.monotonic() + wait_s
    while True:
        asked_s = time.monotonic()
        if await redis.set(key, token, nx=True, px=int(LEASE_S * 1000)):
            break
        if asked_s >= end:
            raise LeaseTakenError(f"{key}: another process is at it; try again in a minute")
        await asyncio.sleep(AGAIN_S)
    lease = Lease(redis, key, token, asked_s + LEASE_S)
    keeping = asyncio.create_task(_keep(lease))
    try:
        yield lease
    finally:
        keeping.cancel()
        with suppress(RedisError):  # then it ends by itself
            await Scripts(redis)("release", [key], [token])


async def _keep(lease: Lease) -> None:
    while True:
        await asyncio.sleep(LEASE_S / 4)
        with suppress(RedisError):
            await lease.prolong()
