"""Taking over what a dead or stuck worker left: one entry at a time, each run alone, given up after some tries."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from redis.asyncio import Redis

from broker.claims import Claim, claim, idle_entries, survived
from broker.settlement import Settlement
from worker.handler import sort_out
from worker.metrics import REDELIVERIES
from worker.serving import Serving
from worker.speed import LOOK_MS
from worker.trouble import PASSING, Trouble


class Claimer:
    """Looks for idle entries of one tag several times a claim time."""

    def __init__(self, redis: Redis, serving: Serving, stopping: asyncio.Event) -> None:
        self._redis = redis
        self._serving = serving
        self._settings = serving.means.settings
        self._stopping = stopping
        self._trouble = Trouble("claiming", serving.tag.model)

    async def run(self) -> None:
        """Look, and finish what is found, until told to stop."""
        most_s = min(LOOK_MS, self._settings.claim_ms / 4) / 1000
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), most_s * random.uniform(0.5, 1))
            with self._trouble.waited_out():
                await self._look()

    async def _look(self) -> None:
        after: str | None = None
        while found := await idle_entries(self._redis, self._serving.tag, self._settings, after=after):
            for entry_id, _ in found:
                if self._stopping.is_set():
                    return
                await self._take(entry_id)
            after = found[-1][0]

    async def _take(self, entry_id: str) -> None:
        serving = self._serving
        if entry_id in serving.held or await self._is_newer(entry_id):
            return
        if taken := await claim(self._redis, serving.tag, serving.means.worker, entry_id, self._settings):
            REDELIVERIES.labels(serving.tag.model).inc()
            await serving.settle(await self._survive(taken))

    async def _is_newer(self, entry_id: str) -> bool:
        """Tell whether the entry is for a newer worker. Looking is no delivery: it must not use up a try."""
        serving = self._serving
        if entry_id in serving.newer:
            return True
        found: Any = await self._redis.xrange(serving.tag.requests, entry_id, entry_id)
        newer = sort_out(serving.tag, [(entry_id, fields) for _, fields in found], serving.means.worker).newer
        serving.leave(newer)
        return bool(newer)

    async def _survive(self, taken: Claim) -> Sequence[Settlement]:
        """Run one entry alone, and say that it was survived before anything else can go wrong."""
        try:
            return await self._finish(taken)
        finally:
            with suppress(*PASSING):  # a name that stays is one undeserved death
                await survived(self._redis, self._serving.tag, self._serving.means.worker, taken.entry_id)

    async def _finish(self, taken: Claim) -> Sequence[Settlement]:
        serving, entries = self._serving, [(taken.entry_id, taken.fields)]
        if not taken.is_hopeless(self._settings.max_deliveries):
            return await serving.work(entries, taken.deliveries + 1)
        serving.held.add(taken.entry_id)
        found = sort_out(serving.tag, entries, serving.means.worker, taken.deliveries)
        detail = f"{taken.deliveries} workers took it and none finished"
        crashed = [serving.handler.given_up(arrival, "crashed", detail) for arrival in found.arrivals]
        return [*crashed, *found.malformed]
