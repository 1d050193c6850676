"""How much one caller may ask of one gateway process: requests a second, and requests at the same time."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiolimiter import AsyncLimiter

from gateway.problems import Problem


class Limits:
    """A leaky bucket and a count of open requests per caller; callers are as many as there are keys."""

    def __init__(self, per_second: int, most_open: int) -> None:
        self._per_second = per_second
        self._most_open = most_open
        self._buckets: dict[str, AsyncLimiter] = {}
        self._open: Counter[str] = Counter()

    @asynccontextmanager
    async def counting(self, caller: str) -> AsyncIterator[str]:
        """Count one request of *caller*, whose name it gives, while it runs.

        Raises:
            Problem: 429, it is past the caller's share.

        """
        if self._open[caller] >= self._most_open:
            raise Problem("too_many_open_requests")
        bucket = self._buckets.setdefault(caller, AsyncLimiter(self._per_second, 1))
        if not bucket.has_capacity():
            raise Problem("rate_limited")
        await bucket.acquire()  # does not wait: there is capacity
        self._open[caller] += 1
        try:
            yield caller
        finally:
            self._open[caller] -= 1
