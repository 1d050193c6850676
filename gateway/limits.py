"""How much one caller may ask of all gateways together: requests a second, and requests at the same time."""

import re
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from aiolimiter import AsyncLimiter
from redis.asyncio import Redis

from gateway.problems import Problem

ASKED: Final = "observa:asked"  # hash: gateway and caller to what that caller asks there now
HEARD_MS: Final = 5_000  # a gateway that has not said anything for longer counts for nothing
FORGOTTEN_MS: Final = 60_000
_SAID: Final = re.compile(rb"(\d{1,15}) (\d{1,9}) (\d{1,9})")
CHANGED: Final = 0.1  # of the whole share: less is the noise of counting, and no reason for a new bucket


@dataclass(frozen=True, slots=True)
class Asked:
    """What one caller asks of one gateway: requests in the last second, and requests that are open."""

    requests: int
    open: int

    def __add__(self, other: "Asked") -> "Asked":
        return Asked(self.requests + other.requests, self.open + other.open)


class Limits:
    """A leaky bucket and a count of open requests per caller; callers are as many as there are keys.

    Each gateway tells the others through Redis, once a second, what its callers ask of it, and takes its part of each
    caller's share: what the others leave, or by demand where they leave too little. So a request costs no call to
    Redis, and a caller that comes to several gateways at once has more than its share for about two seconds.
    """

    def __init__(self, per_second: int, most_open: int) -> None:
        self._whole = Asked(per_second, most_open)
        self._parts: dict[str, Asked] = {}
        self._buckets: dict[str, AsyncLimiter] = {}
        self._open: Counter[str] = Counter()
        self._asked: Counter[str] = Counter()  # since the last exchange, refused ones included
        self._me = secrets.token_hex(6)

    @asynccontextmanager
    async def counting(self, caller: str) -> AsyncIterator[str]:
        """Count one request of *caller*, whose name it gives, while it runs.

        Raises:
            Problem: 429, it is past the caller's share.

        """
        self._asked[caller] += 1
        part = self._parts.get(caller, self._whole)
        if self._open[caller] >= part.open:
            raise Problem("too_many_open_requests")
        bucket = self._buckets.setdefault(caller, AsyncLimiter(part.requests, 1))
        if not bucket.has_capacity():
            raise Problem("rate_limited")
        await bucket.acquire()  # does not wait: there is capacity
        self._open[caller] += 1
        try:
            yield caller
        finally:
            self._open[caller] -= 1

    async def exchange(self, redis: Redis, now_ms: float) -> None:
        """Say what was asked here since the last call, a second ago, and hear what was asked elsewhere.

        Raises:
            redis.exceptions.RedisError: Redis did not answer; the parts stay as they are.

        """
        mine = {caller: Asked(self._asked[caller], self._open[caller]) for caller in {*self._asked, *self._parts}}
        self._asked.clear()
        if not mine:
            return
        told: dict[Any, Any] = {
            f"{self._me} {name}": f"{now_ms:.0f} {part.requests} {part.open}" for name, part in mine.items()
        }
        pipeline = redis.pipeline(transaction=False)
        pipeline.hset(ASKED, mapping=told)
        pipeline.hgetall(ASKED)
        _, said = await pipeline.execute()
        others, forgotten = self._heard(said, now_ms)
        if forgotten:
            await redis.hdel(ASKED, *forgotten)
        for caller, asked in mine.items():
            self._take(caller, asked, others.get(caller, Asked(0, 0)))

    def _heard(self, said: dict[bytes, bytes], now_ms: float) -> tuple[dict[str, Asked], list[bytes]]:
        others: dict[str, Asked] = {}
        forgotten = []
        for who, what in said.items():
            gateway, _, caller = who.decode(errors="replace").partition(" ")
            numbers = _SAID.fullmatch(what)
            age_ms = now_ms - int(numbers[1]) if numbers else FORGOTTEN_MS + 1
            if numbers and age_ms <= HEARD_MS and gateway != self._me:
                others[caller] = others.get(caller, Asked(0, 0)) + Asked(int(numbers[2]), int(numbers[3]))
            elif age_ms > FORGOTTEN_MS:
                forgotten.append(who)
        return others, forgotten

    def _take(self, caller: str, mine: Asked, others: Asked) -> None:
        before, whole = self._parts.get(caller, self._whole), self._whole
        requests = _part(whole.requests, mine.requests, others.requests)
        if requests != whole.requests and abs(requests - before.requests) <= CHANGED * whole.requests:
            requests = before.requests
        if requests != before.requests:
            self._buckets.pop(caller, None)
        part = Asked(requests, _part(whole.open, mine.open, others.open))
        if part == whole and mine == Asked(0, 0):
            self._parts.pop(caller, None)
        else:
            self._parts[caller] = part


def _part(whole: int, mine: int, others: int) -> int:
    """Return what may be asked here: what the others leave, or by demand where all together ask too much."""
    return max(1, whole - others, whole * mine // (mine + others or 1))
